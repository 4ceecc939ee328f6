"""Optical flow on the CPU: our bundle against transformers, and points against the dense field, side by side in one run.

    python benchmarks/flow.py                                   # random weights at published size, 368x496
    python benchmarks/flow.py --checkpoint deepmind/optical-flow-perceiver --rounds 5 --json flow.json

Every measurement is a fresh process; sides take turns. Time is of one call after one warm-up call, the median over rounds;
memory is the process's peak resident size (on Linux). Needs the test dependencies (transformers, scikit-image) and a bundle,
which it exports itself unless `--bundle` names one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from perceiver_runtime.common.children import python_code, python_module

TESTS = Path(__file__).parent.parent / "tests"
PROLOGUE = """
import json, sys, time
import numpy as np
frame1, frame2 = np.load(sys.argv[2]), np.load(sys.argv[3])

def measure(call):
    call()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak_bytes": peak}))
"""
OURS = """
import perceiver_runtime as pr
flow = pr.load(sys.argv[1], device="cpu")
"""
SIDES = {
    "transformers": """
sys.path.insert(0, sys.argv[4])
from published import model_frames, transformers_flow
from transformers import PerceiverForOpticalFlow
model = PerceiverForOpticalFlow.from_pretrained(sys.argv[1]).eval()
measure(lambda: transformers_flow(model, model_frames(frame1, frame2)))
""",
    "perceiver_runtime": OURS + "measure(lambda: flow(frame1, frame2))",
    "perceiver_runtime, 200 points": OURS
    + """
points = np.random.default_rng(0).integers(0, [frame1.shape[1], frame1.shape[0]], (200, 2))
measure(lambda: flow.at(frame1, frame2, points))
""",
}


def main() -> None:
    """Measure, print a table of medians and ratios, write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="default: random weights at published size")
    parser.add_argument("--bundle", help="default: exported from the checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from published import PUBLISHED, real_frames, save_random_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = arguments.checkpoint or str(folder / "checkpoint")
        if not arguments.checkpoint:
            save_random_checkpoint(folder / "checkpoint", **PUBLISHED)
        bundle = arguments.bundle or str(folder / "flow")
        if not arguments.bundle:
            export = [*python_module("perceiver_deploy.cli"), "--task", "flow"]
            subprocess.run([*export, "--checkpoint", checkpoint, "-o", bundle], check=True)
        frames = [folder / "a.npy", folder / "b.npy"]
        for path, frame in zip(frames, real_frames(368, 496)):
            np.save(path, frame)
        results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(arguments.rounds):
            for side, program in SIDES.items():
                source = checkpoint if side == "transformers" else bundle
                command = [*python_code(PROLOGUE + program), source, *frames, TESTS]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results[side].append(json.loads(done.stdout.splitlines()[-1]))
    base = statistics.median(row["seconds"] for row in results["transformers"])
    print(f"{'368x496, batch 1':32} {'seconds':>8} {'ratio':>6} {'peak GB':>8}")
    for side, rows in results.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        peak = max(row["peak_bytes"] for row in rows) / 1e9
        print(f"{side:32} {seconds:8.2f} {seconds / base:6.2f} {peak:8.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
