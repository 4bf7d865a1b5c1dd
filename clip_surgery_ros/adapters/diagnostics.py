"""The node's health as a diagnostics message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from clip_surgery_ros.newest_worker import WorkerCounts


@dataclass(frozen=True)
class NodeHealth:
    """What is worth knowing of a running node.

    :param name: the node's full name.
    :param state: lifecycle state.
    :param device: where the networks run; empty when none are loaded.
    :param query: labels asked for.
    :param counts: frames since the last activation.
    :param skipped: frames left alone since then, by rate, age, or for want of a query or reader.
    :param latencies_s: seconds from a frame's start of work to its last message, recent ones.
    :param last_error: empty when there was none since the last good frame.
    """

    name: str
    state: str
    device: str
    query: Sequence[str]
    counts: WorkerCounts
    skipped: int
    latencies_s: Sequence[float]
    last_error: str


def diagnostic_array(health: NodeHealth, stamp: Time) -> DiagnosticArray:
    """One status: an error while frames fail, a warning while the node is not active."""
    level, summary = _verdict(health)
    counts = health.counts
    values = {
        "state": health.state,
        "device": health.device or "none",
        "query": "; ".join(health.query),
        "frames in": counts.offered + health.skipped,
        "frames answered": counts.done,
        "frames failed": counts.failed,
        "frames dropped for newer ones": counts.dropped,
        "frames skipped": health.skipped,
        "latency p50 [s]": _percentile(health.latencies_s, 50),
        "latency p95 [s]": _percentile(health.latencies_s, 95),
        "last error": health.last_error,
    }
    status = DiagnosticStatus(
        level=level,
        name=health.name.lstrip("/"),
        message=summary,
        hardware_id=health.device,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _verdict(health: NodeHealth) -> tuple[bytes, str]:
    if health.last_error:
        return DiagnosticStatus.ERROR, health.last_error
    if health.state != "active":
        return DiagnosticStatus.WARN, f"not active: {health.state}"
    if not health.query:
        return DiagnosticStatus.OK, "waiting for a query"
    return DiagnosticStatus.OK, "answering frames"


def _percentile(seconds: Sequence[float], percent: float) -> str:
    return f"{np.percentile(seconds, percent):.3f}" if len(seconds) else "no frame yet"
