"""The ROS 2 node of examples/, against a stand-in that has only names of rclpy and sensor_msgs, which come with ROS."""

from __future__ import annotations

import array
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import example
from published import real_frames

import perceiver_runtime as pr


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
