"""Quality of service of every topic, always as a new profile.

rclpy's overriding options change the profile they are given, so two entities must never share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    :raises ConfigError: when an override is no such policy.
    """
    with _overrides_told(topic):
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
    :raises ConfigError: when an override is no such policy.
    """

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

    with _overrides_told(topic):
        if lost is None:
            return opened(None)
        try:
            return opened(SubscriptionEventCallbacks(message_lost=told))
        except UnsupportedEventTypeError:
            return opened(None)


def _overridable() -> QoSOverridingOptions:
    return QoSOverridingOptions(
        (
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )


@contextmanager
def _overrides_told(topic: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "QoS override" not in str(error):
            raise
        raise ConfigError(f"qos_overrides of topic '{topic}' cannot be used: {error}") from error


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
