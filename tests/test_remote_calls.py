"""One call of a pipeline on a server: one timeout, tries for a stated time, bounds, and what its requests carry."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr

rpc = pytest.importorskip("grpc", reason="grpc comes with tritonclient")
from inference_server import Served, serving  # noqa: E402

BUNDLE = Path(__file__).parent / "data" / "golden-1.0" / "flow"
FRAME = np.random.default_rng(3).integers(0, 255, (40, 56, 3)).astype(np.uint8)
WIDE = np.random.default_rng(4).integers(0, 255, (40, 400, 3)).astype(np.uint8)  # several tiles


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served(BUNDLE)) as running:
        yield running


def connect(served: Served, **options: Any) -> Any:
    return pr.connect(served.address, bundle=BUNDLE, **options)


def test_one_timeout_for_a_whole_call(served: Served) -> None:
    served.delay = 0.15
    with connect(served, timeout=0.6, concurrency=1) as flow:
        start = time.monotonic()
        with pytest.raises(pr.BackendError) as late:
            flow(WIDE, WIDE)
    assert "did not answer for flow_" in str(late.value)
    assert "within 0.6 s: give a longer timeout" in str(late.value)
    assert time.monotonic() - start < 1.6
    asked = len(served.asked)
    time.sleep(0.4)
    assert len(served.asked) == asked  # nothing more is sent
    limits = [request["timeout"] for request in served.asked]
    assert 0 < limits[-1] < limits[0] <= 600_000  # the server drops from its queue what nobody waits for
    with connect(served, timeout=60, concurrency=1) as flow:
        begin = time.monotonic()
        assert flow(WIDE, WIDE).shape == (40, 400, 2)
        assert time.monotonic() - begin > 0.9  # it does take longer than that timeout


def test_each_call_has_its_own_time(served: Served) -> None:
    with connect(served, timeout=1.5) as flow:
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            flow.at(FRAME, FRAME, np.zeros((1, 2)))


def test_what_waits_is_cancelled() -> None:
    """A server that computes one at a time: what is in its queue when a call ends is not computed."""
    with serving(Served(BUNDLE, delay=0.2), workers=1) as served, connect(served, timeout=0.7, concurrency=4) as flow:
        with pytest.raises(pr.BackendError, match=r"within 0.7 s"):
            flow(WIDE, WIDE)
        done = served.computed
        time.sleep(1)
        assert served.computed <= done + 1
        assert done < 8


def test_an_error_takes_back_the_others(served: Served) -> None:
    served.delay = 0.8
    served.refuse = lambda number: (rpc.StatusCode.INVALID_ARGUMENT, "no") if number == 2 else None
    with connect(served, concurrency=4) as flow, pytest.raises(pr.BackendError, match="failed on flow_encode"):
        flow(WIDE, WIDE)
    time.sleep(1)
    assert served.computed == 0


@pytest.mark.parametrize(("concurrency", "least", "most"), [(1, 1, 1), (3, 2, 3)])
def test_tiles_go_side_by_side_within_bounds(concurrency: int, least: int, most: int, served: Served) -> None:
    served.delay = 0.05
    with pr.load(BUNDLE, device="cpu", threads=1) as local:
        expected, points = np.asarray(local(WIDE, FRAME_OF[1])), np.array([[1.0, 2.0], [390.0, 30.0]])
        few = local.at(WIDE, FRAME_OF[1], points)
    with connect(served, concurrency=concurrency) as flow:
        np.testing.assert_array_equal(np.asarray(flow(WIDE, FRAME_OF[1])), expected)
        np.testing.assert_array_equal(flow.at(WIDE, FRAME_OF[1], points), few)
    assert least <= served.at_once <= most
    assert not np.array_equal(expected, np.roll(expected, 1, axis=1))


FRAME_OF = (WIDE, np.roll(WIDE, 2, axis=1))


def test_a_server_that_is_away_for_a_while() -> None:
    """It stops under load and comes back on the same port after a while."""
    errors: list[BaseException] = []
    counts, stop = itertools.count(), threading.Event()

    def ask(flow: Any) -> None:
        try:
            while not stop.is_set():
                flow.at(FRAME, FRAME, np.zeros((1, 2)))
                next(counts)
        except BaseException as error:
            errors.append(error)

    with serving(Served(BUNDLE)) as first:
        flow = connect(first, timeout=60, retry_for=30)
        threads = [threading.Thread(target=ask, args=(flow,), daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    time.sleep(1.5)
    with serving(Served(BUNDLE), port=int(first.address.rpartition(":")[2])) as second:
        end = time.monotonic() + 20
        while len(second.asked) < 50 and time.monotonic() < end:
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join(30)
    flow.close()
    assert errors == []
    assert len(second.asked) >= 50
    with pytest.raises(pr.BackendError, match="cannot be reached, nobody listens there"), connect_late(second) as late:
        late.at(FRAME, FRAME, np.zeros((1, 2)))


def connect_late(served: Served) -> Any:
    """Connected while a server was there, and it is away since."""
    with serving(Served(BUNDLE)) as short:
        return connect(short, retry_for=0)


FULL = (rpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size")


def test_a_full_queue(served: Served) -> None:
    served.refuse = lambda number: FULL if number <= 3 else None
    with connect(served) as flow:
        assert flow.at(FRAME, FRAME, np.zeros((1, 2))).shape == (1, 2)
    assert len(served.asked) == 5  # three refused, encode, decode
    served.refuse = lambda number: FULL
    busy = r"is busy, the queue of flow_encode is full: ask less at a time, retry longer \(retry_for=\), or serve more"
    begin, before = time.monotonic(), len(served.asked)
    with connect(served, retry_for=0.5) as flow, pytest.raises(pr.BackendError, match=busy):
        flow.at(FRAME, FRAME, np.zeros((1, 2)))
    assert 0.4 < time.monotonic() - begin < 5
    assert 3 < len(served.asked) - before < 12  # pauses grow


STOPPING = (rpc.StatusCode.CANCELLED, "CANCELLED")


def test_a_server_that_stops_and_cancels(served: Served) -> None:
    served.refuse = lambda number: STOPPING if number <= 2 else None
    with connect(served) as flow:
        assert flow.at(FRAME, FRAME, np.zeros((1, 2))).shape == (1, 2)
    assert len(served.asked) == 4
    served.refuse = lambda number: STOPPING
    stopping = r"cancelled the request of flow_encode: is it stopping\? Retry longer \(retry_for=\)"
    with connect(served, retry_for=0.5) as flow, pytest.raises(pr.BackendError, match=stopping):
        flow.at(FRAME, FRAME, np.zeros((1, 2)))


def test_closed_by_another_thread_while_it_works(served: Served) -> None:
    served.delay = 0.5
    flow = connect(served)
    closer = threading.Timer(0.2, flow.close)
    closer.start()
    with pytest.raises(pr.BackendError, match=r"closed while it worked on flow_encode|this pipeline was closed"):
        flow.at(FRAME, FRAME, np.zeros((1, 2)))
    closer.join()


def test_an_error_of_the_model_is_not_tried_again(served: Served) -> None:
    served.refuse = lambda number: (rpc.StatusCode.INTERNAL, "Failed to process the request(s)")
    with connect(served) as flow, pytest.raises(pr.BackendError, match=r"failed on flow_encode: .*Failed to process"):
        flow.at(FRAME, FRAME, np.zeros((1, 2)))
    assert len(served.asked) == 1


def test_what_requests_carry(served: Served) -> None:
    spans, threads = itertools.count(1), set()

    def headers() -> dict[str, str]:
        threads.add(threading.get_ident())
        return {"Traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{next(spans):016x}-01"}

    given: dict[str, Any] = {"headers": headers, "token": lambda: "secret", "request_id": lambda: "job-7"}
    with connect(served, authority="flow.example", concurrency=4, **given) as flow:
        served.headers.clear()
        flow(WIDE, WIDE)
        flow(WIDE, WIDE)
    assert {found["authorization"] for found in served.headers} == {"Bearer secret"}
    assert len({found["traceparent"] for found in served.headers}) == 2  # one for each call
    assert threads == {threading.get_ident()}
    assert {request["id"] for request in served.asked} == {"job-7"}
    with connect(served, headers={"x-team": "robots"}, token="t") as flow:
        served.headers.clear()
        flow.at(FRAME, FRAME, np.zeros((1, 2)))
    assert {(found["x-team"], found["authorization"]) for found in served.headers} == {("robots", "Bearer t")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"a b": "c"}}, r"headers name 'a b': give names of letters"),
        ({"headers": {"grpc-timeout": "1S"}}, "headers name 'grpc-timeout'"),
        ({"headers": {"a": "b\nc"}}, r"the header a is 'b\\nc': give printable ASCII text"),
        ({"headers": ["a"]}, r"headers are \['a'\]: give names and values"),
        ({"token": "ä"}, "the token is no printable ASCII text"),
        ({"token": "a", "headers": {"Authorization": "b"}}, "headers have an authorization, which token gives too"),
        ({"request_id": "\x00"}, "request_id is .*: give printable ASCII text"),
        ({"ca": "nowhere.pem"}, "ca is nowhere.pem, which is no file: give one in PEM format"),
        ({"certificate": "a.pem"}, r"certificate is 'a.pem': give two files"),
        ({"authority": "a/b"}, "authority is 'a/b': give the host's name"),
        ({"retry_for": -1}, "retry_for is -1: give seconds, 0 or more"),
        ({"retry_for": "3"}, "retry_for is '3': give seconds, a number"),
        ({"concurrency": 0}, "concurrency is 0: give a whole number of at least 1"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises((pr.InputError, pr.UsageError), match=message):
        pr.connect("127.0.0.1:9", bundle=BUNDLE, **options)


def test_a_version_that_was_removed_or_is_not_ready(served: Served) -> None:
    flow = connect(served)
    served.ready = False
    away = "names this bundle as version 1 of flow, but that version is not ready: it is being loaded, or was unloaded"
    with pytest.raises(pr.BackendError, match=away):
        connect(served)
    served.names = "0" * 64
    with pytest.raises(pr.BackendError, match=r"serves other bundles as flow \(version 1 000000000000…\)"):
        connect(served)
    served.refuse = lambda number: (
        rpc.StatusCode.UNAVAILABLE,
        "Request for unknown model: 'flow_encode' version 1 is not found",
    )
    begin = time.monotonic()
    with flow, pytest.raises(pr.BackendError, match="serves other bundles as flow"):
        flow.at(FRAME, FRAME, np.zeros((1, 2)))
    assert time.monotonic() - begin < 10  # it will not come back, so there is no waiting for it


def test_threads_share_a_pipeline(served: Served) -> None:
    def work(shift: int) -> Any:
        return flow.at(WIDE, np.roll(WIDE, shift, axis=1), np.array([[9.0, 9.0]])).tolist()

    with connect(served) as flow:
        alone = [work(shift) for shift in range(6)]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == alone
