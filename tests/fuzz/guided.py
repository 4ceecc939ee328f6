"""One reader, fuzzed with coverage as the guide: inputs that reach new code are kept and changed further. Needs atheris.

    python tests/fuzz/guided.py TARGET --bundle BUNDLE --seconds 600

Targets are those of fuzz.py, and so is what counts as a find; the input is kept in tests/fuzz/corpus.
"""

from __future__ import annotations

import argparse
import random
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
    own = fuzz.MUTATIONS.get(arguments.target)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        """Our own mutation of an input, or libFuzzer's."""
        assert own is not None
        changed = own(data, random.Random(seed)) if seed % 4 else atheris.Mutate(data, max_size)
        return changed if len(changed) <= max_size else data

    more = {} if own is None else {"custom_mutator": change}
    atheris.Setup([sys.argv[0], str(seeds), *limits, found, f"-max_total_time={arguments.seconds}"], one, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
