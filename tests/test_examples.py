"""The programs in examples/: an OpenCV loop, a web service, a ROS 2 node (against a stand-in of rclpy)."""

from __future__ import annotations

import array
import io
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> Any:
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Four frames of a photograph that moves by two pixels to the right, made by OpenCV."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (56, 40))
    frame = real_frames(40, 56)[0]
    for step in range(4):
        writer.write(np.ascontiguousarray(np.roll(frame, 2 * step, axis=1)[..., ::-1]))
    writer.release()
    return path


def test_opencv(small_bundle: Path, clip: Path, tmp_path: Path) -> None:
    code = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*python_code(code), str(EXAMPLES / "opencv_flow.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    output = tmp_path / "motion.mp4"
    done = run(small_bundle, clip, "-o", output)
    assert (done.returncode, done.stdout) == (0, "3 fields of 4 frames, 0 of them passed over\n"), done.stderr
    capture = cv2.VideoCapture(str(output))
    shown = [capture.read()[1] for _ in range(3)]
    assert (shown[0].shape, capture.read()[0], capture.get(cv2.CAP_PROP_FPS)) == ((40, 112, 3), False, 10)
    first = cv2.VideoCapture(str(clip)).read()[1].astype(int)
    assert np.abs(shown[0][:, :56].astype(int) - first).mean() < 12  # the frame itself, in its colours, beside the flow
    assert np.abs(shown[0][:, :56, ::-1].astype(int) - first).mean() > 15  # the negative control: in BGR and RGB
    assert shown[0][:, 56:].std() > 5
    missing = run(small_bundle, tmp_path / "gone.mp4", "-o", output)
    assert (missing.returncode, missing.stderr.splitlines()[-1].endswith("gone.mp4 cannot be opened")) == (1, True)


@pytest.fixture
def picture() -> bytes:
    content = io.BytesIO()
    Image.fromarray(real_frames(40, 56)[0]).save(content, "png")
    return content.getvalue()


def test_service(shipped: Callable[..., Path], picture: bytes) -> None:
    service = example("fastapi_service")
    bundle = shipped("image-classification")
    with pr.load(bundle, task="image-classification") as classify:
        expected = classify(picture, top_k=2).to_dict()
    app = service.create_app(str(bundle), service.Limits(upload_bytes=len(picture)))
    with TestClient(app) as client:
        answer = client.post("/labels?top_k=2", content=picture)
        assert (answer.status_code, answer.json()) == (200, expected)
        assert client.post("/labels", content=picture + b"x").status_code == 413
        # a body whose length nobody says
        assert client.post("/labels", content=iter([picture, b"x" * 9])).status_code == 413
        bad = client.post("/labels", content=b"\x89PNG nothing")
        assert (bad.status_code, "is not an image" in bad.json()["detail"]) == (422, True)
        assert client.post("/labels?top_k=0", content=picture).status_code == 422
        assert client.get("/health").json() == {"task": "image-classification", "busy": 0, "places": 18}
    with (
        pytest.raises(pr.IntegrityError, match="is another bundle"),
        TestClient(service.create_app(str(bundle), manifest_sha256="0" * 64)),
    ):
        pass


def test_service_that_is_busy(shipped: Callable[..., Path], picture: bytes) -> None:
    """Calls whose time is up keep their places until they are done; those that find none are told so."""
    service = example("fastapi_service")
    limits = service.Limits(answer_seconds=0.3, upload_seconds=0.3, workers=1, waiting=1)
    app, go_on = service.create_app(str(shipped("image-classification")), limits), threading.Event()

    def slow(content: bytes, *, top_k: int) -> Any:
        go_on.wait(20)
        return types.SimpleNamespace(to_dict=lambda: {"length": len(content)})

    def endless() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.1)
            yield b"x"

    with TestClient(app) as client:
        manifest, app.state.classify = app.state.classify.manifest, slow
        slow.manifest = manifest  # type: ignore[attr-defined]
        codes: list[int] = []
        calls = [
            threading.Thread(target=lambda: codes.append(client.post("/labels", content=picture).status_code)) for _ in "ab"
        ]
        for call in calls:
            call.start()
        while client.get("/health").json()["busy"] < 2:
            time.sleep(0.01)
        full = client.post("/labels", content=picture)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "1")
        for call in calls:
            call.join()
        assert codes == [504, 504]
        assert client.get("/health").json()["busy"] == 1  # the one that runs; the one that waited was taken back
        go_on.set()
        while client.get("/health").json()["busy"]:
            time.sleep(0.01)
        assert client.post("/labels", content=picture).json() == {"length": len(picture)}
        assert client.get("/health").json()["busy"] == 0


class _Topic:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def publish(self, message: Any) -> None:
        self.sent.append(message)


class _Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    warning = info


class _Node:
    """rclpy's Node, as far as names go that it really has."""

    parameters: dict[str, Any]

    def __init__(self, node_name: str) -> None:
        self.topics: dict[str, _Topic] = {}
        self.subscribed: dict[str, Any] = {}
        self.logger = _Logger()

    def declare_parameter(self, name: str, value: Any = None) -> Any:
        return types.SimpleNamespace(name=name, value=self.parameters.get(name, value))

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: Any) -> _Topic:
        return self.topics.setdefault(topic, _Topic())

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, qos_profile: Any) -> None:
        self.subscribed[topic] = (callback, qos_profile)

    def get_logger(self) -> _Logger:
        return self.logger

    def destroy_node(self) -> None:
        self.subscribed.clear()


class _Image:
    """sensor_msgs.msg.Image: its fields, and no other."""

    __slots__ = ("data", "encoding", "header", "height", "is_bigendian", "step", "width")

    def __init__(self, **fields: Any) -> None:
        for name, value in {"data": array.array("B"), "is_bigendian": 0, **fields}.items():
            setattr(self, name, value)


class _QoSProfile:
    def __init__(self, *, history: int, depth: int, reliability: int) -> None:
        self.history, self.depth, self.reliability = history, depth, reliability


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example, with modules in the place of rclpy and sensor_msgs that have only names of the real ones."""
    qos = {
        "QoSProfile": _QoSProfile,
        "HistoryPolicy": types.SimpleNamespace(KEEP_LAST=1),
        "ReliabilityPolicy": types.SimpleNamespace(BEST_EFFORT=2),
    }
    for name, content in {
        "rclpy": {"init": lambda: None, "spin": lambda node: None, "try_shutdown": lambda: None},
        "rclpy.node": {"Node": _Node},
        "rclpy.qos": qos,
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": _Image},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return example("ros2_flow")


def message(frame: Any, encoding: str, *, padding: int = 0, header: str = "") -> _Image:
    """A picture in RGB as a camera's node sends it."""
    pixels = {
        "rgb8": frame,
        "bgr8": frame[..., ::-1],
        "bgra8": np.concatenate([frame[..., ::-1], np.full_like(frame[..., :1], 7)], axis=2),
        "rgba8": np.concatenate([frame, np.full_like(frame[..., :1], 7)], axis=2),
        "mono8": frame[..., :1],
    }[encoding]
    height, width, channels = pixels.shape
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)))
    data = array.array("B", rows.tobytes())
    return _Image(header=header, height=height, width=width, encoding=encoding, step=width * channels + padding, data=data)


def test_ros_messages(ros: Any) -> None:
    frame = real_frames(40, 56)[0]
    for encoding in ("rgb8", "bgr8", "rgba8", "bgra8"):
        assert np.array_equal(ros.to_rgb(message(frame, encoding, padding=5)), frame), encoding
    assert np.array_equal(ros.to_rgb(message(frame, "mono8")), np.repeat(frame[..., :1], 3, axis=2))
    for wrong, text in ((_Image(encoding="yuv422"), "the encoding is 'yuv422'"), (message(frame, "rgb8"), "are too few")):
        if wrong.encoding == "rgb8":
            wrong.data = wrong.data[:-1]
        with pytest.raises(pr.InputError, match=text):
            ros.to_rgb(wrong)


def test_ros_node(ros: Any, small_bundle: Path) -> None:
    first, second = real_frames(40, 56)
    _Node.parameters = {"bundle": str(small_bundle), "device": "cpu"}
    node = ros.FlowNode()
    on_image, profile = node.subscribed["image"]
    assert (profile.history, profile.depth) == (1, 1)
    on_image(message(first, "bgr8", header="1"))
    assert node.topics["flow"].sent == []
    on_image(message(second, "rgb8", header="2"))
    on_image(_Image(encoding="yuv422"))  # is named, and changes nothing
    on_image(message(first[:20], "rgb8", header="3"))  # another size begins anew
    (field,), (picture,) = node.topics["flow"].sent, node.topics["flow_picture"].sent
    with pr.load(small_bundle, task="flow", device="cpu") as flow:
        expected = flow(first, second)
    found = np.frombuffer(field.data, np.float32).reshape(field.height, field.width, 2)
    assert np.array_equal(found, expected)
    assert (field.encoding, field.step, field.header) == ("32FC2", 56 * 8, "1")
    assert np.array_equal(np.frombuffer(picture.data, np.uint8).reshape(40, 56, 3), pr.flow_to_image(expected))
    assert any("yuv422" in line for line in node.logger.lines)
    node.close()
    assert node.subscribed == {}
    ros.main()
