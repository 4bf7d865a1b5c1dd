"""Where frames are to each other, from ``/tf``: by tf2_ros where it is installed, else by our own
buffer, which gives the same answers.

Both listen from :meth:`Transforms.listen` on, as 100 messages a second take a seventh of a core.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Protocol

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.ros import qos
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid, TransformBuffer, TransformUnavailable, shown


class Transforms(Protocol):
    """Transforms of the last ten seconds, and static ones."""

    def listen(self) -> None:
        """Subscribe to ``/tf`` and ``/tf_static``; does nothing when subscribed already."""

    def stop(self) -> None:
        """Unsubscribe and forget everything; does nothing when not subscribed."""

    def forget_moving(self) -> None:
        """Forget all but static transforms: time begins anew."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform that takes points of ``source`` to ``target``.

        :param stamp_ns: nanoseconds.
        :raises TransformUnavailable: with one of the reasons ``TF_...``.
        """
        ...


def rigid_of(transform: Any) -> Rigid:
    """Return the transform of a geometry_msgs/Transform.

    :raises SpaceError: its numbers are impossible.
    """
    t, r = transform.translation, transform.rotation
    return Rigid.from_message((t.x, t.y, t.z), (r.x, r.y, r.z, r.w))


class OwnTransforms:
    """Transforms by :class:`~clip_surgery_ros.space.transforms.TransformBuffer`.

    :param node: subscribes, and has the clock: when it jumps back, moving frames are forgotten.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer = TransformBuffer()
        self._subscriptions: list[Subscription] = []
        self._jumps: Any = None

    def listen(self) -> None:
        """Subscribe to ``/tf`` and ``/tf_static``; does nothing when subscribed already."""
        if self._subscriptions:
            return
        rows: tuple[tuple[str, Callable[[Any], None], Any], ...] = (
            ("/tf", self._on_moving, qos.transforms()),
            ("/tf_static", self._on_static, qos.static_transforms()),
        )
        self._subscriptions = [
            qos.open_subscription(self._node, TFMessage, topic, callback, profile)
            for topic, callback, profile in rows
        ]
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self._node.get_clock().create_jump_callback(
            threshold, post_callback=lambda _: self.forget_moving()
        )

    def stop(self) -> None:
        """Unsubscribe and forget everything; does nothing when not subscribed."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._jumps is not None:
            self._jumps.unregister()
        self._subscriptions, self._jumps = [], None
        self._buffer = TransformBuffer()

    def forget_moving(self) -> None:
        """Forget all but static transforms: time begins anew."""
        self._buffer.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform that takes points of ``source`` to ``target``.

        :raises TransformUnavailable: with one of the reasons ``TF_...``.
        """
        return self._buffer.lookup(target, source, stamp_ns)

    def _on_moving(self, message: Any) -> None:
        for one in message.transforms:
            stamp = one.header.stamp
            self._keep(one, stamp.sec * 10**9 + stamp.nanosec)

    def _on_static(self, message: Any) -> None:
        for one in message.transforms:
            self._keep(one, None)

    def _keep(self, message: Any, stamp_ns: int | None) -> None:
        """Add a transform to the buffer; one that cannot be used is left out, as in tf2."""
        parent, child = message.header.frame_id, message.child_frame_id
        try:
            transform = rigid_of(message.transform)
            if stamp_ns is None:
                self._buffer.add_static(parent, child, transform)
            else:
                self._buffer.add(parent, child, stamp_ns, transform)
        except SpaceError as error:
            self._node.get_logger().warning(
                f"a transform of {shown(child)} in {shown(parent)} is left out: {error}",
                throttle_duration_sec=10.0,
            )


class Tf2Transforms:
    """Transforms by tf2_ros: with its remappings, its handling of time jumps and its limits.

    :param node: subscribes.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = _tf2_ros()
        self._listener: Any = None
        self._buffer: Any = None

    def listen(self) -> None:
        """Subscribe to ``/tf`` and ``/tf_static``; does nothing when subscribed already."""
        if self._listener is not None:
            return
        self._buffer = self._tf2.Buffer(node=self._node)
        self._listener = self._tf2.TransformListener(self._buffer, self._node, spin_thread=False)

    def stop(self) -> None:
        """Unsubscribe and forget everything; does nothing when not subscribed."""
        if self._listener is not None:
            self._listener.unregister()
        self._listener = self._buffer = None

    def forget_moving(self) -> None:
        """Forget all but static transforms: time begins anew."""
        if self._buffer is not None:
            self._buffer.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform that takes points of ``source`` to ``target``.

        :raises TransformUnavailable: with one of the reasons ``TF_...``.
        """
        tf2_ros, buffer = self._tf2, self._buffer
        if buffer is None:
            raise TransformUnavailable(Reason.TF_UNKNOWN_FRAME, "nobody listens to /tf")
        try:
            found = buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
        except tf2_ros.LookupException as error:
            raise TransformUnavailable(Reason.TF_UNKNOWN_FRAME, str(error)) from error
        except tf2_ros.ConnectivityException as error:
            raise TransformUnavailable(Reason.TF_NOT_CONNECTED, str(error)) from error
        except tf2_ros.TransformException as error:
            # Of the future or of the past: the buffer knows, its text differs by version.
            latest_ns = buffer.get_latest_common_time(target, source).nanoseconds
            reason = Reason.TF_FUTURE if stamp_ns > latest_ns else Reason.TF_PAST
            raise TransformUnavailable(reason, str(error)) from error
        return rigid_of(found.transform)


@cache
def _tf2_ros() -> ModuleType | None:
    """Return tf2_ros, or None where it is not installed or does not work."""
    try:
        import tf2_ros
    except (ImportError, AttributeError, RuntimeError):  # missing, or built for another Python
        return None
    return tf2_ros if hasattr(tf2_ros, "Buffer") else None


def implementations() -> tuple[Callable[[Node], Transforms], ...]:
    """Return the implementations that work here, the preferred one first."""
    return (OwnTransforms,) if _tf2_ros() is None else (Tf2Transforms, OwnTransforms)


def transforms_of(node: Node) -> Transforms:
    """Return the transforms of a node; nothing is subscribed to yet."""
    return implementations()[0](node)
