"""Quality of service of every topic, always as a new profile.

rclpy's overriding options change the profile they are given, so two entities must never share one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.ros.endpoints import type_name

_OVERRIDE = "qos_overrides."


def _names(kind: type[IntEnum]) -> tuple[str, ...]:
    """What an override may say; "unknown" is what rclpy says of what it does not know."""
    return tuple(policy.name.lower() for policy in kind if policy.name != "UNKNOWN")


_POLICIES = {
    "history": _names(HistoryPolicy),
    "reliability": _names(ReliabilityPolicy),
    "durability": _names(DurabilityPolicy),
}
"""Overridable policies that are a choice; the one that is not is depth."""


def newest_image() -> QoSProfile:
    """For camera images in, and for pictures for people out: best effort, only the newest."""
    return _profile(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def query() -> QoSProfile:
    """For queries: none is lost. Volatile, since transient local would refuse most publishers."""
    return _profile(10, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def result() -> QoSProfile:
    """For results: reliable satisfies every subscriber, best effort or not."""
    return _profile(5, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def latched() -> QoSProfile:
    """For what changes seldom: who comes later still gets the last one."""
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def open_publisher(node: Node, kind: type, topic: str, profile: QoSProfile) -> Publisher:
    """A publisher whose profile the parameters ``qos_overrides./topic.publisher...`` override.

    :raises ConfigError: when the node has that topic already, of another type.
    """
    _check_type(node, kind, topic)
    return node.create_publisher(kind, topic, profile, qos_overriding_options=_overridable())


def open_subscription(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    lost: Callable[[int], None] | None = None,
) -> Subscription:
    """A subscription whose profile ``qos_overrides./topic.subscription...`` override.

    :param lost: told how many more messages were lost on their way, where the middleware says so.
    :raises ConfigError: when the node has that topic already, of another type.
    """
    _check_type(node, kind, topic)

    def told(event: Any) -> None:
        if lost is not None:
            lost(event.total_count_change)

    def opened(events: SubscriptionEventCallbacks | None) -> Subscription:
        return node.create_subscription(
            kind,
            topic,
            callback,
            profile,
            event_callbacks=events,
            qos_overriding_options=_overridable(),
        )

    if lost is None:
        return opened(None)
    try:
        return opened(SubscriptionEventCallbacks(message_lost=told))
    except UnsupportedEventTypeError:
        return opened(None)


def check_overrides(values: Mapping[str, Any]) -> None:
    """Refuse overrides that rclpy would stumble over when their topic is opened, perhaps late.

    :param values: of parameters by their names; others are passed over.
    :raises ConfigError: naming the first that is no such policy.
    """
    for name, value in values.items():
        if name.startswith(_OVERRIDE):
            topic, *end = name.removeprefix(_OVERRIDE).rsplit(".", 2)
            _check_policy(topic.lstrip("/"), ".".join(end), value)


def _check_policy(topic: str, end: str, value: Any) -> None:
    """``end`` is as in ``subscription.depth``."""
    policy = end.rpartition(".")[2]
    wanted = ""
    if policy == "depth" and not (type(value) is int and 0 <= value < 2**31):
        wanted = "a whole number from 0 to 2147483647, without quotes"
    elif policy in _POLICIES and str(value).lower() not in _POLICIES[policy]:
        wanted = "one of " + ", ".join(_POLICIES[policy])
    if wanted:
        raise ConfigError(
            f"qos_overrides of topic '{topic}' cannot be used: {end} is {repr(value)[:80]}, but "
            f"must be {wanted}"
        )


def _overridable() -> QoSOverridingOptions:
    kinds = [QoSPolicyKind[policy.upper()] for policy in ("depth", *_POLICIES)]
    return QoSOverridingOptions(kinds)


def _check_type(node: Node, kind: type, topic: str) -> None:
    """Refuse a second type on a topic, which the middleware answers with a riddle."""
    name = node.resolve_topic_name(topic)
    ends: tuple[Any, ...] = (*node.subscriptions, *node.publishers)
    for other in ends:
        if other.topic_name == name and other.msg_type is not kind:
            raise ConfigError(
                f"topic '{name}' would be {type_name(kind)} and {type_name(other.msg_type)} at "
                "once; look at the names that topics are remapped to, and at image_topics"
            )


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
