"""A while of tests/fuzz/fuzz.py over every reader, and all that it ever found."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "fuzz" / "fuzz.py"
SECONDS = os.environ.get("PERCEIVER_FUZZ_SECONDS", "40")


def fuzz(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "all", "--bundle", str(bundle), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 + 3 * float(SECONDS))


def test_typed_errors_only(tiny_bundle: Path) -> None:
    """Thousands of mutated files: taken or a `PerceiverError`; no reader hangs or takes more than 4 GB."""
    done = fuzz(tiny_bundle, "--seconds", SECONDS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = [int(line.split()[1]) for line in done.stdout.splitlines() if line.endswith(" inputs")]
    assert len(counts) >= 15
    assert min(counts) > 20


def test_what_was_found_stays_fixed(tiny_bundle: Path) -> None:
    done = fuzz(tiny_bundle, "--replay")
    assert done.returncode == 0, done.stdout[-2000:]
    assert len(list((SCRIPT.parent / "corpus").iterdir())) >= 11
