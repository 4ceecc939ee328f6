"""What happens in the field: disks that fill, memory that ends, folders one may not write to, libraries too old, kills."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HuggingFace

import perceiver_runtime as pr
from perceiver_deploy.staging import clean_up
from perceiver_runtime.backends.tensorrt import cache
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_code, python_module

EXPORT = python_module("perceiver_deploy.cli")
PERCEIVER = python_module("perceiver_runtime")
NOBODY = 65534
KILLS = int(os.environ.get("PERCEIVER_KILLS", "4"))


def limited(what: int, size: int) -> Callable[[], None]:
    """For a child: this much and no more."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(what, (size, size))

    return limit


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a user is told."""
    said = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return said[-1]


def test_an_export_to_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A file may have 200 kB: writing the weights fails half way."""
    command = [*EXPORT, "--task", "image-classification", "-o", str(tmp_path / "digits")]
    done = run(command, preexec_fn=limited(resource.RLIMIT_FSIZE, 200_000))
    assert "perceiver-export: " in one_line(done, 1)
    assert list(tmp_path.iterdir()) == []
    assert run(command).returncode == 0  # the next one works


@pytest.mark.long
def test_an_export_that_is_killed_at_any_moment(tiny: HuggingFace, tmp_path: Path) -> None:
    """kill -9 while a bundle is replaced: the old one or the new one is whole, and the next export tidies up."""
    output = tmp_path / "flow"
    command = [*EXPORT, "--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(output), "--force"]
    start = time.monotonic()
    assert run(command).returncode == 0
    usual = time.monotonic() - start
    moments = random.Random(0)
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as export:
            time.sleep(usual * moments.uniform(0.3, 1.1))  # before, libraries are imported
            export.kill()
        clean_up(output)  # the first thing that an export does
        open_bundle(output)
    assert run(command).returncode == 0
    assert os.listdir(tmp_path) == ["flow"]


def test_a_result_that_the_disk_has_no_room_for(small_bundle: Path, tmp_path: Path) -> None:
    command = [*PERCEIVER, "run", str(small_bundle), "--sample", "--flo", str(tmp_path / "motion.flo")]
    done = run(command, preexec_fn=limited(resource.RLIMIT_FSIZE, 1000))
    assert "perceiver run: " in one_line(done, 1)
    assert not (tmp_path / "motion.flo").exists()


@pytest.mark.parametrize("megabytes", [150, 165, 180])
def test_memory_that_ends(megabytes: int, small_bundle: Path) -> None:
    """Wherever it ends, in numpy, in opening a session or in running it: one line, no traceback, no hang."""
    command = [*PERCEIVER, "run", str(small_bundle), "--sample", "--threads", "1"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = run(command, preexec_fn=limited(resource.RLIMIT_AS, megabytes << 20), env=environment, timeout=120)
    if done.returncode == 0:
        pytest.skip(f"{megabytes} MB are enough here")
    if done.returncode > 0 and "Traceback" in done.stderr:
        assert "import" in done.stderr  # of a library, before anything of ours could catch it
        return
    assert done.returncode in (1, 5), done.stderr[-2000:]


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs to become another user")
def test_a_read_only_cache(tmp_path: Path) -> None:
    """The engine is used and the reason said; nothing is in the folder after."""
    folder = tmp_path / "cache" / "engines"
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o500)
    for parent in [*folder.relative_to("/").parents][:-1]:
        (Path("/") / parent).chmod((Path("/") / parent).stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            wanted = types.SimpleNamespace(key="k", to_json=dict)
            plan, lost = cache.EngineCache(tmp_path / "cache").get_or_build(wanted, "bundle", lambda: b"engine")  # type: ignore[arg-type]
            code = 0 if plan == b"engine" and "Permission denied" in lost else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(folder.iterdir()) == []


def test_a_build_that_is_killed_leaves_no_engine(tmp_path: Path) -> None:
    """kill -9 while the engine is written: the next one builds it, and prune takes away what is left, a day later."""
    os.chmod(tmp_path, 0o700)
    program = (
        "import os, sys, types, pathlib, time\n"
        "from perceiver_runtime.backends.tensorrt import cache\n"
        "cache.os.fsync = lambda descriptor: (print('writing', flush=True), time.sleep(60))\n"
        "wanted = types.SimpleNamespace(key=cache.key_of({}), to_json=dict)\n"
        "cache.EngineCache(pathlib.Path(sys.argv[1])).get_or_build(wanted, 'bundle', lambda: b'engine')\n"
    )
    with subprocess.Popen([*python_code(program), str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        child.kill()
    engines = cache.EngineCache(tmp_path)
    wanted = types.SimpleNamespace(key=cache.key_of({}), to_json=dict)
    assert engines.get(wanted) is None  # type: ignore[arg-type]
    assert engines.get_or_build(wanted, "bundle", lambda: b"built again") == (b"built again", "")  # type: ignore[arg-type]
    assert engines.get(wanted) == b"built again"  # type: ignore[arg-type]
    (left,) = engines.folder.glob(".*.partial")
    assert engines.remove_leftovers() == 0
    os.utime(left, (time.time() - 90000,) * 2)
    assert engines.remove_leftovers() == 1


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_jumped(years: int, small_bundle: Path, tmp_path: Path) -> None:
    """Files from the future or of long ago are as good as others: nothing depends on what time it is."""
    import shutil

    bundle = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    for path in bundle.iterdir():
        os.utime(path, (time.time() + years * 31557600,) * 2)
    assert main(["verify", str(bundle)]) == 0


def test_an_onnxruntime_too_old(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(__version__="1.9.0"))  # type: ignore[arg-type]
    with pytest.raises(pr.BackendError, match=r"ONNX Runtime 1.9.0 is too old: pip install --upgrade 'onnxruntime>=1.20'"):
        pr.load(small_bundle)


def test_a_provider_that_vanishes(small_bundle: Path) -> None:
    """The session fails in the middle of a call, as where a GPU fell off the bus; the next pipeline works."""
    import numpy as np

    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError("CUDA failure 719: unspecified launch failure")

    frame = np.zeros((40, 60, 3), np.uint8)
    with pr.load(small_bundle, device="cpu") as flow:
        flow.graphs["decode"]._session = Session()
        with pytest.raises(pr.BackendError, match=r"decode.onnx failed while running: CUDA failure 719"):
            flow(frame, frame)
    with pr.load(small_bundle, device="cpu") as flow:
        assert flow(frame, frame).shape == (40, 60, 2)
