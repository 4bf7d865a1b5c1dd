"""Quality of service of every topic, and its overrides by parameters.

Every function returns a new profile: rclpy writes the overrides into the profile that it gets, so
two topics must never share one.
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


def _names(policies: type[IntEnum]) -> tuple[str, ...]:
    """Return the values that an override may have; ``UNKNOWN`` is rclpy's own placeholder."""
    return tuple(policy.name.lower() for policy in policies if policy.name != "UNKNOWN")


_POLICIES = {
    "history": _names(HistoryPolicy),
    "reliability": _names(ReliabilityPolicy),
    "durability": _names(DurabilityPolicy),
}
"""Policies that can be overridden with one of these names; depth, a number, is one more."""


def newest_image() -> QoSProfile:
    """Return the profile of camera images and of pictures for people: best effort, newest only."""
    return _profile(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def query() -> QoSProfile:
    """Return the profile of queries: reliable; transient_local would match few publishers."""
    return _profile(10, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def result() -> QoSProfile:
    """Return the profile of results: reliable, which matches all subscribers that are volatile."""
    return _profile(5, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def latched() -> QoSProfile:
    """Return the profile of topics that change seldom: late subscribers get the last message."""
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def transforms() -> QoSProfile:
    """Return the profile of ``/tf``, as tf2_ros has it."""
    return _profile(100, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def static_transforms() -> QoSProfile:
    """Return the profile of reading ``/tf_static``, as tf2_ros has it: of many latched senders."""
    return _profile(100, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def measurements() -> QoSProfile:
    """Return the profile of depth and camera models: best effort, the newest few."""
    return _profile(5, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def open_publisher(node: Node, message_type: type, topic: str, profile: QoSProfile) -> Publisher:
    """Create a publisher; the parameters ``qos_overrides./topic.publisher...`` change its profile.

    :raises ConfigError: when the node has the topic already, with a different type.
    """
    _check_type(node, message_type, topic)
    return node.create_publisher(
        message_type, topic, profile, qos_overriding_options=_overridable()
    )


def open_subscription(
    node: Node,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    on_lost: Callable[[int], None] | None = None,
) -> Subscription:
    """Create a subscription; ``qos_overrides./topic.subscription...`` change its profile.

    :param on_lost: called with the number of messages that were lost since the last call, where
        the middleware reports it.
    :raises ConfigError: when the node has the topic already, with a different type.
    """
    _check_type(node, message_type, topic)

    def on_lost_event(event: Any) -> None:
        if on_lost is not None:
            on_lost(event.total_count_change)

    def subscribe(events: SubscriptionEventCallbacks | None) -> Subscription:
        return node.create_subscription(
            message_type,
            topic,
            callback,
            profile,
            event_callbacks=events,
            qos_overriding_options=_overridable(),
        )

    if on_lost is None:
        return subscribe(None)
    try:
        return subscribe(SubscriptionEventCallbacks(message_lost=on_lost_event))
    except UnsupportedEventTypeError:
        return subscribe(None)


def check_overrides(values: Mapping[str, Any]) -> None:
    """Refuse overrides that rclpy cannot use, before their topic is opened, perhaps much later.

    :param values: of parameters by their names; parameters that override no QoS are ignored.
    :raises ConfigError: naming the first value that is not valid.
    """
    for name, value in values.items():
        if name.startswith(_OVERRIDE):
            topic, *end = name.removeprefix(_OVERRIDE).rsplit(".", 2)
            _check_policy(topic.lstrip("/"), ".".join(end), value)


def _check_policy(topic: str, end: str, value: Any) -> None:
    """Refuse a value of one override; ``end`` is the end of its name: ``subscription.depth``."""
    policy = end.rpartition(".")[2]
    expected = ""
    if policy == "depth" and not (type(value) is int and 0 <= value < 2**31):
        expected = "a whole number from 0 to 2147483647, without quotes"
    elif policy in _POLICIES and str(value).lower() not in _POLICIES[policy]:
        expected = "one of " + ", ".join(_POLICIES[policy])
    if expected:
        raise ConfigError(
            f"qos_overrides of topic '{topic}' cannot be used: {end} is {repr(value)[:80]}, but "
            f"must be {expected}"
        )


def _overridable() -> QoSOverridingOptions:
    policies = [QoSPolicyKind[policy.upper()] for policy in ("depth", *_POLICIES)]
    return QoSOverridingOptions(policies)


def _check_type(node: Node, message_type: type, topic: str) -> None:
    """Refuse a second type on a topic; the middleware's own error does not name the topic."""
    name = node.resolve_topic_name(topic)
    endpoints: tuple[Any, ...] = (*node.subscriptions, *node.publishers)
    for endpoint in endpoints:
        if endpoint.topic_name == name and endpoint.msg_type is not message_type:
            raise ConfigError(
                f"topic '{name}' would be {type_name(message_type)} and "
                f"{type_name(endpoint.msg_type)} at once; check the names that topics are "
                "remapped to, and image_topics"
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
