"""Quality of service of every topic, always as a new profile.

rclpy's overriding options change the profile they are given, so two entities must never share one.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


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


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
