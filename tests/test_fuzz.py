"""A while of tests/fuzz/fuzz.py over every reader, of guided.py over our own ones, and all that was ever found."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from perceiver_runtime import IntegrityError
from perceiver_runtime.bundle import graph_check
from perceiver_runtime.bundle.graph_check import GraphCheck
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.children import python_code

SCRIPT = Path(__file__).parent / "fuzz" / "fuzz.py"
SOAK = os.environ.get("PERCEIVER_FUZZ_SECONDS")  # `make soak`: by time; else by count, so that every machine tries the same
SECONDS = SOAK or "40"
AMOUNT = ["--seconds", SOAK] if SOAK else ["--inputs", "1500", "--seconds", "9999"]


def fuzz(bundle: Path, *options: str, target: str = "all") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), target, "--bundle", str(bundle), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600 + 3 * float(SECONDS))


def test_typed_errors_only(tiny_bundle: Path) -> None:
    """Thousands of mutated files: taken or a `PerceiverError`; no reader hangs or takes more than 4 GB."""
    done = fuzz(tiny_bundle, *AMOUNT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = [int(line.split()[1]) for line in done.stdout.splitlines() if line.endswith(" inputs")]
    assert len(counts) >= 18
    assert min(counts) > 20 if SOAK else sorted(counts)[:4] == [20, 75, 300, 1500]


def test_commands_end_as_documented(tiny_bundle: Path) -> None:
    """perceiver-export on changed files of checkpoints; what it does before graphs are traced."""
    done = fuzz(tiny_bundle, *(["--seconds", SOAK] if SOAK else ["--inputs", "8", "--seconds", "9999"]), target="checkpoint")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len([line for line in done.stdout.splitlines() if line.endswith(" inputs")]) == 4


@pytest.mark.parametrize("target", ["manifest", "graph", "differential", "flo", "wav"])
def test_guided_by_coverage(target: str, tiny_bundle: Path) -> None:
    pytest.importorskip("atheris", reason="needs atheris")
    command = [sys.executable, str(SCRIPT.with_name("guided.py")), target, "--bundle", str(tiny_bundle)]
    part = 1 if target == "differential" and int(SECONDS) >= 100 else 10  # in `make soak` the whole time
    seconds = max(3, int(SECONDS) // part)
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], capture_output=True, text=True, check=False, timeout=60 + 3 * seconds
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"in {seconds + 1} second(s)" in done.stderr  # to its end


def test_a_find_is_told(tmp_path: Path, tiny_bundle: Path) -> None:
    """A reader that fails in another way than a `PerceiverError` is a find, in both."""
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import fuzz\n"
        "fuzz.CORPUS = pathlib.Path(sys.argv[2])\n"
        "fuzz.targets = lambda bundle: {'bad': (lambda data: {}[data] if data[1:] else None, b'x')}\n"
        "sys.argv[1:] = ['bad', '--bundle', sys.argv[3], '--seconds', '2']\n"
    )
    for last in ("sys.exit(fuzz.main())", "import guided; guided.main()"):
        if "guided" in last:
            pytest.importorskip("atheris", reason="needs atheris")
        folder = tmp_path / str(len(last))
        folder.mkdir()
        command = [*python_code(program + last), str(SCRIPT.parent), str(folder), str(tiny_bundle)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode != 0
        assert "KeyError" in done.stdout + done.stderr
        assert list(folder.glob("bad-*"))


def test_a_traceback_is_told(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the commands: a traceback, an exit code that is not documented, words that a terminal obeys."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import commands

    class Refused(Exception):
        pass

    def command(arguments: Sequence[str]) -> int:
        what = arguments[0]
        if what == "raise":
            raise Refused
        if what == "leave":
            raise SystemExit("Traceback")
        print("\x1b[2J" if what == "obey" else "fine", file=sys.stderr)
        return int(what == "obey") if what != "code" else 7

    commands.run(command, ["fine"])
    with pytest.raises(Refused):
        commands.run(command, ["raise"])
    for what in ("leave", "code", "obey"):
        with pytest.raises(commands.Find):
            commands.run(command, [what])
    manifest, seed = commands.of_bundle(tiny_bundle)["bundlemanifest"]
    monkeypatch.setattr(commands, "main", lambda arguments: {}[arguments[0]])
    with pytest.raises(KeyError):
        manifest(seed)


def test_a_difference_is_told(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the differential fuzzing: an engine that is given something else."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import differential

    manifest = open_bundle(tiny_bundle).manifest
    weights = {entry.path: entry.size for entry in manifest.files if entry.path.endswith(".safetensors")}
    run = differential.against_onnx(GraphCheck("decode.onnx", weights), manifest.graphs["decode"])
    raw, source, accepted = (tiny_bundle / "decode.onnx").read_bytes(), random.Random(0), 0
    for _ in range(300):
        try:
            accepted += run(differential.mutate(raw, source))
        except IntegrityError:
            continue
    assert accepted > 20
    write = graph_check.write
    monkeypatch.setattr(graph_check, "write", lambda schema, model: write(schema, {**model, 5: [7]}))
    with pytest.raises(differential.Difference, match="onnx sees something else in the file"):
        run(raw)


def test_what_was_found_stays_fixed(tiny_bundle: Path) -> None:
    done = fuzz(tiny_bundle, "--replay")
    assert done.returncode == 0, done.stdout[-2000:]
    assert len(list((SCRIPT.parent / "corpus").iterdir())) >= 11
