"""A forked process: an inherited pipeline is one error, one loaded there answers, and either way the process ends."""

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
FRAMES = real_frames(40, 56)
SENTENCE = "and no engine survives a fork: load it in this process"
inherited: Any = None  # by the workers of a pool


def needs_openvino() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not here")


def use(_: object = None) -> str:
    try:
        return str(inherited(*FRAMES).shape)
    except pr.UsageError as error:
        return str(error)


def load_own(folder: str) -> bytes:
    with pr.load(folder, device="cpu", threads=2) as own:
        return np.ascontiguousarray(own(*FRAMES)).tobytes()


def ends(child: Callable[[], None], seconds: float = 30) -> int:
    """The exit code of a forked child that does this."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    return wait(pid, seconds)


def wait(pid: int, seconds: float = 30) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError(f"the child hangs, after {seconds} s")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_fork(device: str, tiny_bundle: Path) -> None:
    if device == "openvino":
        needs_openvino()
    with pr.load(tiny_bundle, device=device, threads=2) as flow:
        expected = flow(*FRAMES)

        def child() -> None:
            with pytest.raises(pr.UsageError, match=f"process {os.getppid()}, which process {os.getpid()} .* {SENTENCE}"):
                flow(*FRAMES)
            with pytest.raises(pr.UsageError, match=SENTENCE):
                flow.at(*FRAMES, np.array([[3, 4]]))
            flow.close()
            with pr.load(tiny_bundle, device=device, threads=2) as own:
                np.testing.assert_array_equal(own(*FRAMES), expected)

        assert ends(child) == 0
        np.testing.assert_array_equal(flow(*FRAMES), expected)  # the parent's goes on


def test_multiprocessing_fork(tiny_bundle: Path) -> None:
    global inherited
    with pr.load(tiny_bundle, device="cpu", threads=2) as inherited:
        expected = np.ascontiguousarray(inherited(*FRAMES)).tobytes()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            assert SENTENCE in pool.submit(use).result(30)
            assert pool.submit(load_own, str(tiny_bundle)).result(30) == expected
    inherited = None


# As gunicorn --preload does: the application is loaded, with the pipeline in a global; workers are forked, answer, and leave by
# sys.exit, which runs the interpreter's whole end. The master forks twice.
PRELOAD = """
import os, sys
import numpy as np
import perceiver_runtime as pr

folder, device, how = sys.argv[1:]
frames = np.zeros((40, 56, 3), np.uint8), np.zeros((40, 56, 3), np.uint8)
flow = pr.load(folder, device=device, threads=2)
flow(*frames)
workers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        if how == "use":
            try:
                flow(*frames)
            except pr.UsageError as error:
                os.write(1, f"{error}\\n".encode())  # in one piece
        if how == "own":
            flow = pr.load(folder, device=device, threads=2)
            os.write(1, f"{flow(*frames).shape}\\n".encode())
        if how == "drop":
            del flow
        sys.exit(0)
    workers.append(pid)
for pid in workers:
    assert os.waitpid(pid, 0)[1] == 0
print("done", flush=True)
"""


@pytest.mark.parametrize("device", ["cpu", "openvino"])
@pytest.mark.parametrize("how", ["use", "own", "drop", "nothing"])
def test_preloaded_workers(how: str, device: str, tiny_bundle: Path) -> None:
    if device == "openvino":
        needs_openvino()
    command = [sys.executable, "-W", "ignore", *python_code(PRELOAD)[1:], str(tiny_bundle), device, how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[-1] == "done"
    assert all({"use": SENTENCE, "own": "(40, 56, 2)"}[how] in line for line in said[:-1]), said
    assert len(said) == (3 if how in ("use", "own") else 1)
