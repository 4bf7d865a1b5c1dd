"""The contract of transforms over ``/tf``, for every implementation that works here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros.harness import spinning, wait_for_reader, wait_until
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.transforms import Transforms, implementations
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import TransformUnavailable

S = 1_000_000_000
HALF = float(np.sqrt(0.5))


class Robot:
    """Publishes transforms, and has the listener's answers."""

    def __init__(self, node: Node, transforms: Transforms) -> None:
        self.transforms = transforms
        self._moving = node.create_publisher(TFMessage, "/tf", qos.transforms())
        self._static = node.create_publisher(TFMessage, "/tf_static", qos.latched())

    def move(self, parent: str, child: str, ns: int, x: float, yaw: float = 0.0) -> None:
        wait_for_reader(self._moving)
        self._moving.publish(TFMessage(transforms=[message(parent, child, ns, x, yaw)]))

    def fix(self, *links: tuple[str, str, float]) -> None:
        self._static.publish(
            TFMessage(transforms=[message(*link[:2], 0, link[2]) for link in links])
        )

    def known(self, target: str, source: str, ns: int) -> None:
        """Wait until a transform has arrived."""
        wait_until(lambda: self.reason(target, source, ns) is None)

    def reason(self, target: str, source: str, ns: int) -> Reason | None:
        try:
            self.transforms.lookup(target, source, ns)
        except TransformUnavailable as error:
            return error.finding.reason
        return None


def message(parent: str, child: str, ns: int, x: float, yaw: float = 0.0) -> TransformStamped:
    sent = TransformStamped(child_frame_id=child)
    sent.header.frame_id = parent
    sent.header.stamp.sec, sent.header.stamp.nanosec = ns // S, ns % S
    sent.transform.translation = Vector3(x=x)
    sent.transform.rotation = Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2))
    return sent


@pytest.fixture(params=implementations(), ids=lambda kind: kind.__name__)
def robot(ros_node: Node, request: pytest.FixtureRequest) -> Robot:
    """From 100 s to 102 s, base moves along the x of map by 2 m, and turns by 90 degrees."""
    make: Callable[[Node], Transforms] = request.param
    listener = Node("listener", context=ros_node.context)
    transforms = make(listener)
    with spinning(listener, SingleThreadedExecutor(context=ros_node.context)):
        transforms.listen()
        transforms.listen()  # twice is once
        robot = Robot(ros_node, transforms)
        robot.fix(("base", "camera", 0.5), ("wall", "tag", 1.0))
        robot.move("map", "base", 100 * S, 0.0)
        robot.move("map", "base", 102 * S, 2.0, np.pi / 2)
        robot.known("map", "camera", 102 * S)
        yield robot
        listener.executor.create_task(transforms.stop)
        wait_until(lambda: listener.count_subscribers("/tf") == 0)
    listener.destroy_node()


def test_transforms_of_a_moving_robot(robot: Robot) -> None:
    between = robot.transforms.lookup("map", "camera", 101 * S)
    np.testing.assert_allclose(between.translation, (1 + 0.5 * HALF, 0.5 * HALF, 0), atol=1e-9)
    ahead = between.apply(np.array([[1.0, 0, 0]])) - between.translation
    np.testing.assert_allclose(ahead, [[HALF, HALF, 0]], atol=1e-9)
    back = robot.transforms.lookup("camera", "map", 101 * S)
    np.testing.assert_allclose((between @ back).matrix, np.eye(4), atol=1e-9)
    fixed = robot.transforms.lookup("base", "camera", 7 * S)
    np.testing.assert_allclose(fixed.translation, (0.5, 0, 0), atol=1e-9)


def test_reasons_are_those_of_the_moment(robot: Robot) -> None:
    assert robot.reason("map", "camera", 102 * S + 1) is Reason.TF_FUTURE
    assert robot.reason("map", "camera", 100 * S - 1) is Reason.TF_PAST
    assert robot.reason("map", "hand", 101 * S) is Reason.TF_UNKNOWN_FRAME
    assert robot.reason("map", "tag", 101 * S) is Reason.TF_NOT_CONNECTED
    assert robot.reason("map", "camera", 102 * S) is None


def test_impossible_transform_is_left_out(robot: Robot) -> None:
    robot.move("map", "base", 103 * S, float("nan"))
    robot.move("map", "base", 104 * S, 4.0)
    robot.known("map", "base", 104 * S)
    found = robot.transforms.lookup("map", "base", 103 * S)
    np.testing.assert_allclose(found.translation, (3, 0, 0), atol=1e-9)


def test_transforms_of_ten_seconds_are_kept(robot: Robot) -> None:
    robot.move("map", "base", 111 * S, 9.0)
    robot.known("map", "base", 111 * S)
    assert robot.reason("map", "base", 102 * S) is None
    assert robot.reason("map", "base", 101 * S) is Reason.TF_PAST


def test_moving_transforms_can_be_forgotten_and_begin_anew_in_the_past(robot: Robot) -> None:
    robot.transforms.forget_moving()
    assert robot.reason("map", "base", 102 * S) is Reason.TF_UNKNOWN_FRAME
    assert robot.reason("base", "camera", 102 * S) is None
    robot.move("map", "base", 5 * S, 7.0)
    robot.known("map", "camera", 5 * S)
    assert robot.transforms.lookup("map", "base", 5 * S).translation[0] == 7


def test_before_listening_no_frame_is_known(ros_node: Node) -> None:
    for make in implementations():
        with pytest.raises(TransformUnavailable) as caught:
            make(ros_node).lookup("map", "camera", S)
        assert caught.value.finding.reason is Reason.TF_UNKNOWN_FRAME
