"""Who publishes on a topic that the node reads, and why it may not hear them.

The graph knows all publishers by the topic's name, whatever their type and quality of service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_BELOW = "/compressed"
"""What image_transport adds to the name of a camera's topic."""


@dataclass(frozen=True)
class Publishers:
    """Publishers of a topic.

    :param heard: how many of them the node hears.
    :param unheard: why it does not hear the others, and what to do; empty where it hears all.
    :param keeps_last: one that is heard keeps its last message for readers that ask for it
        (latched), and the node does not.
    """

    heard: int = 0
    unheard: str = ""
    keeps_last: bool = False


def publishers_of(node: Node, read: Subscription) -> Publishers:
    """Who publishes what a subscription of a node reads."""
    ends = node.get_publishers_info_by_topic(read.topic_name)
    reasons = [(end, _why_unheard(end, read)) for end in ends]
    heard = [end for end, reason in reasons if not reason]
    transient = DurabilityPolicy.TRANSIENT_LOCAL
    keeps = any(end.qos_profile.durability == transient for end in heard)
    return Publishers(
        len(heard),
        next((reason for _, reason in reasons if reason), "" if ends else _beside(node, read)),
        keeps and read.qos_profile.durability != transient,
    )


def type_name(kind: Any) -> str:
    """The ROS name of a message class, such as ``sensor_msgs/msg/Image``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _why_unheard(end: TopicEndpointInfo, read: Subscription) -> str:
    topic, wanted = read.topic_name, type_name(read.msg_type)
    if end.topic_type != wanted:
        cure = _cure_of_type(topic, end.topic_type, wanted)
        return f"{topic} carries {end.topic_type}, and this node reads {wanted} there: {cure}"
    offered, asked = end.qos_profile, read.qos_profile
    override = f"qos_overrides.{topic}.subscription"
    if (offered.reliability, asked.reliability) == (
        ReliabilityPolicy.BEST_EFFORT,
        ReliabilityPolicy.RELIABLE,
    ):
        return (
            f"{end.node_name} publishes {topic} best effort, and this node asks for reliable: "
            f"incompatible QoS; publish it reliable, or set {override}.reliability to best_effort"
        )
    if (offered.durability, asked.durability) == (
        DurabilityPolicy.VOLATILE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    ):
        return (
            f"{end.node_name} publishes {topic} volatile, and this node asks for transient_local: "
            f"incompatible QoS; set {override}.durability to volatile"
        )
    return ""


def _cure_of_type(topic: str, carried: str, wanted: str) -> str:
    """What to do about a topic of another type."""
    match carried, wanted:
        case "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image":
            base = topic.removesuffix(_BELOW)
            if base != topic:
                return f"set image_transport to compressed and name the topic {base}"
            return f"set image_transport to compressed and remap {topic}{_BELOW} to {topic}"
        case "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage":
            return f"set image_transport to raw and name the topic {topic}"
    return f"name a topic of {wanted}"


def _beside(node: Node, read: Subscription) -> str:
    """Where images are that come by the other transport; empty if nowhere."""
    topic = read.topic_name
    if type_name(read.msg_type) == _IMAGE:
        other, kind, transport = topic + _BELOW, _COMPRESSED, "compressed"
    elif type_name(read.msg_type) == _COMPRESSED:
        other, kind, transport = topic.removesuffix(_BELOW), _IMAGE, "raw"
    else:
        return ""
    if not any(end.topic_type == kind for end in node.get_publishers_info_by_topic(other)):
        return ""
    return (
        f"nobody publishes {topic}, but {other} carries {kind}: set image_transport to {transport}"
    )
