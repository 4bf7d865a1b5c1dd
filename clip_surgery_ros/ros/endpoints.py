"""The publishers of a topic that the node subscribes to, and why some may not match.

The ROS graph lists all publishers of a topic's name, whatever their type and quality of service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_SUFFIX = "/compressed"
"""What image_transport appends to the name of a camera's topic."""


@dataclass(frozen=True)
class Publishers:
    """Publishers of a topic.

    :param matched: how many of them the node receives messages from.
    :param mismatch: why it does not receive from another, and what to do; empty when it receives
        from all.
    :param is_latched: a matched publisher keeps its last message for subscribers that request it
        (transient_local), and the node does not request it.
    """

    matched: int = 0
    mismatch: str = ""
    is_latched: bool = False


def publishers_of(node: Node, subscription: Subscription) -> Publishers:
    """Return the publishers of a subscription's topic."""
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    mismatches = [_mismatch(endpoint, subscription) for endpoint in endpoints]
    matched = [end for end, mismatch in zip(endpoints, mismatches, strict=True) if not mismatch]
    mismatch = next(filter(None, mismatches), "")
    if not endpoints:
        mismatch = _other_transport(node, subscription)
    transient = DurabilityPolicy.TRANSIENT_LOCAL
    has_transient = any(end.qos_profile.durability == transient for end in matched)
    is_latched = has_transient and subscription.qos_profile.durability != transient
    return Publishers(len(matched), mismatch, is_latched)


def type_name(message_type: Any) -> str:
    """Return the ROS name of a message class, such as ``sensor_msgs/msg/Image``."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


def _mismatch(publisher: TopicEndpointInfo, subscription: Subscription) -> str:
    """Return why a publisher does not match a subscription; empty when it does."""
    topic, expected = subscription.topic_name, type_name(subscription.msg_type)
    carried = publisher.topic_type
    if carried != expected:
        advice = _type_advice(topic, carried, expected)
        return f"{topic} carries {carried}, and this node reads {expected} there: {advice}"
    offered, requested = publisher.qos_profile, subscription.qos_profile
    override = f"qos_overrides.{topic}.subscription"
    if (offered.reliability, requested.reliability) == (
        ReliabilityPolicy.BEST_EFFORT,
        ReliabilityPolicy.RELIABLE,
    ):
        return (
            f"{publisher.node_name} publishes {topic} best effort, and this node asks for "
            "reliable: incompatible QoS; publish it reliable, or set "
            f"{override}.reliability to best_effort"
        )
    if (offered.durability, requested.durability) == (
        DurabilityPolicy.VOLATILE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    ):
        return (
            f"{publisher.node_name} publishes {topic} volatile, and this node asks for "
            f"transient_local: incompatible QoS; set {override}.durability to volatile"
        )
    return ""


def _type_advice(topic: str, carried: str, expected: str) -> str:
    """Return what to do about a topic of a different type."""
    match carried, expected:
        case "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image":
            base = topic.removesuffix(_SUFFIX)
            if base != topic:
                return f"set image_transport to compressed and name the topic {base}"
            return f"set image_transport to compressed and remap {topic}{_SUFFIX} to {topic}"
        case "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage":
            return f"set image_transport to raw and name the topic {topic}"
    return f"name a topic of {expected}"


def _other_transport(node: Node, subscription: Subscription) -> str:
    """Return where images are published with the other transport; empty if nowhere."""
    topic = subscription.topic_name
    if type_name(subscription.msg_type) == _IMAGE:
        near, carried, transport = topic + _SUFFIX, _COMPRESSED, "compressed"
    elif type_name(subscription.msg_type) == _COMPRESSED:
        near, carried, transport = topic.removesuffix(_SUFFIX), _IMAGE, "raw"
    else:
        return ""
    publishers = node.get_publishers_info_by_topic(near)
    if not any(publisher.topic_type == carried for publisher in publishers):
        return ""
    return (
        f"nobody publishes {topic}, but {near} carries {carried}: set image_transport to "
        f"{transport}"
    )
