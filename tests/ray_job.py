"""In an environment with Ray: the example on a simulated three-node cluster, interrupted, resumed, a node lost meanwhile.

    python ray_job.py EXAMPLE BUNDLE INPUT OUTPUT

Prints JSON: rows done at the interruption, the ids and errors at the end, how many of the first rows' files are unchanged, and
what a job was told for which the cluster is too small.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as there, everything is on the loopback interface

import pyarrow.parquet
from ray.cluster_utils import Cluster


def rows(output: Path) -> int:
    """Rows that are written."""
    count = 0
    for path in output.glob("*.parquet"):
        try:
            count += pyarrow.parquet.ParquetFile(path).metadata.num_rows
        except (OSError, pyarrow.ArrowInvalid):  # being written
            continue
    return count


def wait(done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is, or the process ends."""
    end = time.monotonic() + 150
    while not done() and process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError("the job did not get that far in 150 s")
        time.sleep(0.2)


def main() -> None:
    """Run the job twice."""
    example, bundle, source, output = sys.argv[1:]
    folder = Path(output)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    command = [sys.executable, example, bundle, source, output, "--actors", "2", "--batch-size", "4", "--save-every", "0.2"]
    command += ["--address", cluster.address]
    try:
        first = subprocess.Popen(command, start_new_session=True, stdout=sys.stderr)
        wait(lambda: rows(folder) >= 60, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(5)  # what was being written is finished or given up
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
        kept = rows(folder)
        second = subprocess.Popen(command, start_new_session=True, stdout=sys.stderr)
        wait(lambda: rows(folder) >= kept + 40, second)
        cluster.remove_node(nodes[0], allow_graceful=False)
        code = second.wait(200)
        after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
        table = pyarrow.parquet.read_table(folder).to_pandas()
        more = [each for each in command if each != output] + ["--actors", "9"]
        more.insert(4, f"{output}-more")
        refused = subprocess.run(more, capture_output=True, text=True, check=False, timeout=100)
        result = {
            "refused": [refused.returncode, refused.stderr],
            "code": code,
            "interrupted_at": kept,
            "ids": table["id"].tolist(),
            "errors": table[table["error"] != ""].set_index("id")["error"].to_dict(),
            "labels": table[table["error"] == ""].set_index("id")["label"].to_dict(),
            "unchanged": sum(after.get(name) == when for name, when in before.items()),
            "files_before": len(before),
        }
        print(json.dumps(result))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
