"""How `perceiver serve` holds up: threads that each send the bundle's own sample again and again; p50, p99, requests a second.

    perceiver-export --task text-classification -o senses
    python benchmarks/serve_load.py senses digits --threads 16 --calls 100 --json load.json

Each client thread keeps one connection, as programs do. The server runs in a process of its own on the same machine, so the
threads take some of its cores: what is measured is both. Say what else the machine did: `load` is its load average before.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.children import python_module
from perceiver_runtime.files.wav import write_wav
from perceiver_runtime.processing.text import from_bytes
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import check_task


def request_of(folder: str) -> tuple[bytes, str]:
    """The bundle's sample as a form, and its Content-Type."""
    bundle = open_bundle(folder)
    kind = check_task(bundle, None).kind(bundle.manifest)
    inputs, parts = Sample.read(bundle.read(FILE)).inputs, []
    for column in kind.columns:
        if kind.forms.get(column) == "text":
            content = from_bytes(inputs[column]).encode()
        elif column == "audio":
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                write_wav(file.name, inputs[column], bundle.manifest.processor["sampling_rate"])
                content = Path(file.name).read_bytes()
        else:
            stream = io.BytesIO()
            np.save(stream, inputs[column])
            content = stream.getvalue()
        parts.append(f'--part\r\nContent-Disposition: form-data; name="{column}"\r\n\r\n'.encode() + content + b"\r\n")
    return b"".join([*parts, b"--part--\r\n"]), "multipart/form-data; boundary=part"


def measured(port: int, name: str, folder: str, threads: int, calls: int) -> dict[str, Any]:
    """Seconds of every call, from many threads at once."""
    body, content_type = request_of(folder)
    seconds: list[float] = []
    failed: list[int] = []
    barrier = threading.Barrier(threads + 1)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        barrier.wait()
        for _ in range(calls):
            began = time.perf_counter()
            connection.request("POST", f"/v2/models/{name}/answer", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                seconds.append(time.perf_counter() - began)
            else:
                failed.append(answer.status)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for each in clients:
        each.start()
    barrier.wait()
    began = time.perf_counter()
    for each in clients:
        each.join()
    wall = time.perf_counter() - began
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"name": name, "calls": len(seconds), "failed": len(failed), "p50": p50, "p99": p99, "rate": len(seconds) / wall}


def main() -> None:
    """Serve, load, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--calls", type=int, default=100, help="of each thread")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--serve", default="--threads 1 --concurrency 2", help="options of perceiver serve (default: %(default)s)"
    )
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as log:
        command = [*python_module("perceiver_runtime"), "serve", *arguments.bundles, "--port", "0", *arguments.serve.split()]
        server = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
        try:
            found = None
            while found is None:
                time.sleep(0.1)
                log.seek(0)
                text = log.read().decode(errors="replace")
                found = re.search(r"ready on http://127\.0\.0\.1:(\d+)", text)
                if server.poll() is not None:
                    raise SystemExit(text)
            rows = [
                measured(int(found[1]), Path(folder).absolute().name, folder, arguments.threads, arguments.calls)
                for folder in arguments.bundles
            ]
        finally:
            server.terminate()
            server.wait()
    print(f"{arguments.threads} threads x {arguments.calls} calls, perceiver serve {arguments.serve}; load before: {load:.1f}")
    for row in rows:
        shown = f"p50 {1000 * row['p50']:8.1f} ms   p99 {1000 * row['p99']:8.1f} ms   {row['rate']:8.1f} a second"
        print(f"{row['name']:24} {shown}   {row['failed']} of {row['calls'] + row['failed']} failed")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"load": load, "serve": arguments.serve, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
