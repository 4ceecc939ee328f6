"""`perceiver serve` in a process of its own, on the loopback interface; plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from perceiver_runtime.common.children import python_module


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running server: its process, its log, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.address = f"127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request."""
        return ask(self.port, method, path, body, headers)


def ask(port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """One request on a connection of its own; a body that is no bytes goes as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    given = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    """Serve what the arguments say, on a free port, until the end of the block."""
    log = folder / "serve.log"
    command = [*python_module("perceiver_runtime"), "serve", *arguments, "--port", "0", "--threads", "1", "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output)
    try:
        for _ in range(1200):
            found = re.search(r"ready on http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
            if found is not None:
                break
            assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text(errors="replace"))
        yield Server(process, int(found[1]), log)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def raw_answer(headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON in the only output of an answer in binary: after the protocol's own JSON and a length."""
    start = int(headers["inference-header-content-length"])
    assert int.from_bytes(body[start : start + 4], "little") == len(body) - start - 4
    return json.loads(body[start + 4 :])


def form(**parts: bytes) -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data and its header."""
    lines = []
    for name, content in parts.items():
        head = f'--frontier\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        lines.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return b"".join([*lines, b"--frontier--\r\n"]), {"Content-Type": "multipart/form-data; boundary=frontier"}
