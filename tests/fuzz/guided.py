"""One reader, fuzzed with coverage as the guide: inputs that reach new code are kept and changed further. Needs atheris.

    python tests/fuzz/guided.py TARGET --bundle BUNDLE --seconds 600

Targets are those of fuzz.py, and so is what counts as a find; the input is kept in tests/fuzz/corpus.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["perceiver_runtime"]):
    import fuzz

from perceiver_runtime import PerceiverError


def main() -> None:
    """Ends in libFuzzer: exit code 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    run, seed = fuzz.targets(arguments.bundle)[arguments.target]
    seeds = Path(tempfile.mkdtemp())
    (seeds / "valid").write_bytes(seed)
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        try:
            run(data)
        except PerceiverError:
            return

    fuzz.limit_memory()  # libFuzzer's own limit would count what the process had that started this one
    limits = ["-rss_limit_mb=0", "-timeout=20", f"-max_len={4 * len(seed) + 4096}"]
    found = f"-artifact_prefix={fuzz.CORPUS / arguments.target}-"
    atheris.Setup([sys.argv[0], str(seeds), *limits, found, f"-max_total_time={arguments.seconds}"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
