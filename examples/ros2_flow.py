"""A ROS 2 node: pictures in, their optical flow out, always between the two newest pictures.

    pip install './runtime[cpu]'                 # into the Python that ROS 2 uses
    python examples/ros2_flow.py --ros-args -p bundle:=/data/flow -r image:=/camera/image_raw

It subscribes to `image` (sensor_msgs/Image: rgb8, bgr8, rgba8, bgra8 or mono8) and publishes `flow` (32FC2: dx and dy in
pixels) and `flow_picture` (rgb8). The queue holds one picture, the newest; ROS drops what came between.

Not yet tested in ROS 2: rclpy comes with ROS itself, and was not there. The tests run this file against a stand-in that has
only names which rclpy and sensor_msgs have (tests/test_ros_example.py).
"""

from __future__ import annotations

import array as array_module
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

import perceiver_runtime as pr

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
NEWEST = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def to_rgb(message: Any) -> Any:
    """The picture of a message, uint8 (H, W, 3) in RGB. Raises `InputError` for another encoding, or too few bytes."""
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise pr.InputError(f"the encoding is {message.encoding!r}: publish one of {', '.join(CHANNELS)}")
    rows = np.frombuffer(message.data, np.uint8)
    if message.step < message.width * channels or rows.size < message.height * message.step:
        raise pr.InputError(f"{rows.size} bytes are too few for {message.width}x{message.height} in {message.encoding}")
    rows = rows[: message.height * message.step].reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    if message.encoding.startswith("bgr"):
        pixels = pixels[..., 2::-1]
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if channels == 1 else pixels[..., :3])


def to_message(array: Any, encoding: str, header: Any) -> Any:
    """An array (H, W, channels) as a message."""
    message = Image()
    message.header = header
    message.height, message.width = array.shape[:2]
    message.encoding, message.is_bigendian = encoding, 0
    message.step = array.shape[1] * array.shape[2] * array.itemsize
    message.data = array_module.array("B", np.ascontiguousarray(array).tobytes())  # what rclpy takes without a look at each
    return message


class FlowNode(Node):  # type: ignore[misc,unused-ignore]
    """Parameters: `bundle`, a folder; `device`; `public_key`, a file, to take signed bundles only; `scale`, 1.0 or less."""

    def __init__(self) -> None:
        super().__init__("perceiver_flow")
        bundle = self.declare_parameter("bundle", "flow").value
        device = self.declare_parameter("device", "auto").value
        public_key = self.declare_parameter("public_key", "").value
        scale = self.declare_parameter("scale", 1.0).value
        self._scale = None if scale == 1.0 else scale
        self._flow = pr.load(bundle, task="flow", device=device, public_key=public_key or None)
        self._before: Any = None
        self._fields = self.create_publisher(Image, "flow", 1)
        self._pictures = self.create_publisher(Image, "flow_picture", 1)
        self.create_subscription(Image, "image", self.on_image, NEWEST)
        self.get_logger().info(f"{bundle} runs on {self._flow.provider}")

    def on_image(self, message: Any) -> None:
        """The flow from the picture before to this one, with the header of that one."""
        try:
            frame = to_rgb(message)
            before, self._before = self._before, (frame, message.header)
            if before is None or before[0].shape != frame.shape:  # the first, or the camera changed its size
                return
            field = self._flow(before[0], frame, scale=self._scale)
        except pr.InputError as error:
            self.get_logger().warning(str(error))
            return
        self._fields.publish(to_message(np.asarray(field, np.float32), "32FC2", before[1]))
        self._pictures.publish(to_message(pr.flow_to_image(field), "rgb8", before[1]))

    def close(self) -> None:
        """Let go of the bundle and the node."""
        self._flow.close()
        self.destroy_node()


def main() -> None:
    """Run until ROS ends it."""
    rclpy.init()
    node = FlowNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
