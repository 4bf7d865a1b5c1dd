"""The node's diagnostics: what ``/diagnostics`` and the log say of its health once a second."""

from __future__ import annotations

from collections.abc import Iterator

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage

from clip_surgery_ros.core.text import TextCounts, beyond_latin
from clip_surgery_ros.node.camera_set import CameraSet
from clip_surgery_ros.node.frames import FRAME_COUNTS, FRAME_SPREADS
from clip_surgery_ros.node.lifecycle import Lifecycle
from clip_surgery_ros.node.networks import NodeNetworks, calibration_note
from clip_surgery_ros.node.tracking import Tracking
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.camera import Camera, CameraImage
from clip_surgery_ros.ros.diagnostics import CameraHealth, NodeHealth, diagnostic_array
from clip_surgery_ros.ros.endpoints import Publishers, publishers_of
from clip_surgery_ros.ros.input_warnings import (
    clock_warning,
    demo_warning,
    depth_warning,
    is_recorded,
)
from clip_surgery_ros.ros.parameters import NodeParameters
from clip_surgery_ros.ros.queries import Queries
from clip_surgery_ros.ros.tally import Tally

HEALTH_PERIOD_S = 1.0
"""Diagnostics are published this often; aggregators call a status stale after 5 seconds."""


class HealthReporter:
    """Publishes diagnostics, and logs each warning in them once when it appears.

    :param node: has the publisher and the timer, and knows the ROS graph.
    :param parameters: of the node.
    :param networks: of the node.
    :param queries: of the node.
    :param cameras: of the node.
    :param lifecycle: of the node.
    :param tally: of the node.
    :param tracking: of the node.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        networks: NodeNetworks,
        queries: Queries,
        cameras: CameraSet,
        lifecycle: Lifecycle,
        tally: Tally,
        tracking: Tracking,
    ) -> None:
        self._node, self._parameters, self._networks = node, parameters, networks
        self._queries, self._cameras = queries, cameras
        self._lifecycle, self._tally, self._tracking = lifecycle, tally, tracking
        self._logged: list[str] = []
        self._publisher = qos.open_publisher(node, DiagnosticArray, "/diagnostics", qos.result())
        # Steady time: simulated time may stand still, and diagnostics are published all the same.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(HEALTH_PERIOD_S, self._publish, clock=steady)

    def _publish(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        cameras = [self._camera_health(camera) for camera in self._cameras]
        node = self._node_health()
        self._publisher.publish(diagnostic_array(node, cameras, stamp))
        warnings = [*node.warnings]
        for camera in cameras:
            warnings += filter(None, [*camera.warnings, camera.note])
        for warning in warnings:
            if warning not in self._logged:
                self._node.get_logger().warning(warning)
        self._logged = warnings

    def _node_health(self) -> NodeHealth:
        networks, query = self._networks.loaded, self._queries.active.query
        texts = networks.text_counts if networks else TextCounts()
        reads_all = networks is None or networks.multilingual
        unreadable = [] if reads_all else [name for name in query.names if beyond_latin(name)]
        return NodeHealth(
            name=self._node.get_fully_qualified_name(),
            config=self._parameters.config,
            state=self._node._state_machine.current_state[1],
            device=networks.device if networks else "",
            precision=networks.precision if networks else "",
            calibration=calibration_note(networks, self._parameters.config) if networks else "",
            fell_back=bool(networks and networks.fell_back),
            query=query,
            unreadable=unreadable,
            unknown=self._networks.unknown_notes(query),
            too_long=[name for name in query.names if any(text in name for text in texts.cut)],
            warnings=[*self._topic_warnings()],
            refused=self._queries.refused,
            refusal=self._queries.last_refusal,
            texts=texts,
            counts=self._tally.counts,
            spreads=self._tally.spreads(),
            objects=self._tracking.counts if self._parameters.config.tracking else {},
            last_error=self._lifecycle.last_error,
        )

    def _topic_warnings(self) -> Iterator[str]:
        """Why queries, or the time, do not arrive."""
        node = self._node
        if node.get_parameter("use_sim_time").value and not node.count_publishers("/clock"):
            yield (
                "use_sim_time is true and nobody publishes /clock, so time stands still; play the "
                "bag with --clock, or set use_sim_time to false"
            )
        for subscription in self._queries.inputs:
            publishers = publishers_of(node, subscription)
            if publishers.mismatch:
                yield publishers.mismatch
            if publishers.is_latched and not self._queries.active.query.labels:
                yield (
                    f"a query that was latched on {subscription.topic_name} before this node "
                    "started is not received; publish it again"
                )

    def _camera_health(self, camera: Camera) -> CameraHealth:
        tally = camera.tally
        counts, spreads = tally.counts, tally.spreads()
        publishers = camera.publishers()
        warnings = self._camera_warnings(camera, publishers)
        silent_s = tally.seconds_since("in") or tally.seconds_since("listening") or 0.0
        return CameraHealth(
            name=camera.topic.name,
            topic=camera.image_topic,
            is_listening=self._lifecycle.is_active,
            publishers=publishers.matched,
            warnings=warnings,
            note="" if warnings else self._clock_warning(camera),
            image=describe_image(camera.newest_image),
            silent_s=silent_s,
            rates_hz={name: tally.rate_hz(name) for name in ("in", "answered")},
            counts={name: counts[name] for name in FRAME_COUNTS},
            recent={name: tally.recent_count(name) for name in ("in", "lost on the way")},
            spreads={name: spreads[name] for name in FRAME_SPREADS if name in spreads},
            last_error=camera.last_error,
        )

    def _camera_warnings(self, camera: Camera, publishers: Publishers) -> list[str]:
        """What is wrong with the images of a camera, the worst first."""
        topic, newest = camera.image_topic, camera.newest_image
        max_age_s = self._parameters.config.max_frame_age_s
        networks = self._networks.loaded
        is_demo = networks is not None and networks.know_demo_only
        warnings = (
            publishers.mismatch,
            depth_warning(topic, newest),
            "" if is_recorded(camera.age_s, max_age_s) else self._clock_warning(camera),
            demo_warning(topic, newest) if is_demo else "",
            *(camera.depth.warnings() if camera.depth is not None else ()),
        )
        return [warning for warning in warnings if warning]

    def _clock_warning(self, camera: Camera) -> str:
        max_age_s = self._parameters.config.max_frame_age_s
        return clock_warning(camera.image_topic, camera.age_s, max_age_s)


def describe_image(image: CameraImage | None) -> str:
    """Return the size and encoding of an image, for people."""
    if image is None:
        return "none yet"
    if isinstance(image, CompressedImage):
        return f"{image.format[:80]}, {len(image.data)} bytes"
    return f"{image.width} x {image.height} {image.encoding[:80]}"
