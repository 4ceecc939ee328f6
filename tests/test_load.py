"""Many threads on one pipeline: the same answers to the last bit, no growth of memory, released on close."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code

CALLS = os.environ.get("PERCEIVER_LOAD_CALLS", "800")

# In a process of its own, whose memory nothing else has touched; it prints kilobytes grown after the first
# hundreds of calls: by then 16 threads at once have left for the next runs what they will, all but some 30 MB.
PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from published import real_frames
import perceiver_runtime as pr

def resident():
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

pairs = [real_frames(40, 56, top=top, left=2 * top) for top in range(0, 80, 10)]
with pr.load(sys.argv[1], device="cpu", threads=1) as flow, ThreadPoolExecutor(16) as pool:
    expected = [flow(*pair) for pair in pairs]
    assert not np.array_equal(expected[0], expected[1])

    def one(number):
        place = number % len(pairs)
        return np.array_equal(flow(*pairs[place]), expected[place])

    calls = int(sys.argv[2])
    assert all(pool.map(one, range(max(400, calls // 4))))
    before = resident()
    assert all(pool.map(one, range(calls)))
    print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sixteen_threads(tiny_bundle: Path) -> None:
    command = [*python_code(PROGRAM), str(tiny_bundle), CALLS]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # published.py
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    grown = int(done.stdout)
    assert grown < 60_000, f"{grown} kB more after {CALLS} calls"


# A camera faster than the model. A frame takes 0.9 MB, so one kept for each field would show within a hundred fields.
STREAM = """
import sys, time
import numpy as np
from published import real_frames
import perceiver_runtime as pr

def resident():
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

made, seconds, base = 0, float(sys.argv[2]), real_frames(480, 640)[0]

def camera(end):
    global made
    while time.monotonic() < end:
        time.sleep(0.005)
        made += 1
        yield np.roll(base, 2 * made, axis=1)

with pr.load(sys.argv[1], device="cpu", threads=1) as flow:
    for _ in flow.stream(camera(time.monotonic() + max(2.0, seconds / 4)), latest=True, scale="tile"):
        pass
    before, made = resident(), 0
    with flow.stream(camera(time.monotonic() + seconds), latest=True, scale="tile") as stream:
        for field in stream:
            assert field.shape == (480, 640, 2)
    assert made == stream.read == stream.taken + stream.dropped, (made, stream.read, stream.taken, stream.dropped)
    assert stream.fields == stream.taken - 1
    print(stream.fields, stream.dropped, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_stream_for_a_long_time(tiny_bundle: Path) -> None:
    """Flat memory, and every frame that the camera made is in a field or counted as dropped."""
    command = [*python_code(STREAM), str(tiny_bundle), os.environ.get("PERCEIVER_STREAM_SECONDS", "8")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    fields, dropped, grown = map(int, done.stdout.split())
    assert fields > 10
    assert dropped > 0
    assert grown < 40_000, f"{grown} kB more after {fields} fields"


def test_reloading_while_serving(tiny_bundle: Path, small_bundle: Path) -> None:
    """Another bundle is opened and takes over while calls go on; the old pipeline, closed, says so."""
    pair = real_frames(40, 56)
    old = pr.load(tiny_bundle, device="cpu")
    serving = [old]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(lambda: serving[0](*pair)) for _ in range(20)]
        serving[0] = pr.load(small_bundle, device="cpu")
        answers += [pool.submit(lambda: serving[0](*pair)) for _ in range(5)]
        shapes = {answer.result().shape for answer in answers}
    assert shapes == {(40, 56, 2)}
    assert not np.array_equal(answers[0].result(), answers[-1].result())
    old.close()
    with pytest.raises(pr.PerceiverError, match="this pipeline was closed: load the bundle again"):
        old(*pair)
    serving[0].close()
