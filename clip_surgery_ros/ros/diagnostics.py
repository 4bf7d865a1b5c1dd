"""The node's health as a diagnostics message: one status of the node and one per camera.

Levels: ERROR, it does not work until somebody corrects something; WARN, it works or could work,
but not as requested; OK, everything is in order, even when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from clip_surgery_ros.core.text import TOO_LONG, UNREADABLE, TextCounts
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.tally import Spread
from clip_surgery_ros.ros.transport import loss_advice

Verdict = tuple[bytes, str]
"""Level and message of a status."""
MAX_LOSS = 0.1
"""A warning is given above this share of lost images: any wireless link loses some."""
LATE_S, OLD_S = 1.0, 60.0
"""Images are late when they arrive this many seconds after their stamps, and recorded when they
are older than the second value."""
MIN_LATE_IMAGES = 10
"""A warning needs this many images: fewer may be late because of a busy moment."""


@dataclass(frozen=True)
class NodeHealth:
    """The state of the node that diagnostics report.

    :param name: the node's full name.
    :param state: lifecycle state.
    :param device: where the networks run; empty when none are loaded.
    :param precision: the number format they compute in; empty when none are loaded.
    :param calibration: what presence and score were fitted on, in words; empty when no networks
        are loaded.
    :param fell_back: CUDA was requested and the CPU is used.
    :param unreadable: labels of the query in letters that CLIP cannot read.
    :param unknown: labels of the query that CLIP does not know, a sentence for each.
    :param too_long: labels of the query that are too long for CLIP.
    :param warnings: why queries or the time do not arrive, the worst first.
    :param refused: number of refused queries.
    :param refusal: why the last query was refused; empty when it was not.
    :param texts: number of texts encoded and taken from the cache.
    :param counts: runs of each stage and service calls, since the networks were loaded.
    :param spreads: durations of each stage.
    :param last_error: why the last transition failed; empty when it succeeded.
    :param objects: how many objects that are followed over time are in each state.
    """

    name: str
    config: Config
    state: str
    device: str
    precision: str
    calibration: str
    fell_back: bool
    query: Query
    unreadable: Sequence[str]
    unknown: Sequence[str]
    too_long: Sequence[str]
    warnings: Sequence[str]
    refused: int
    refusal: str
    texts: TextCounts
    counts: Mapping[str, int]
    spreads: Mapping[str, Spread]
    last_error: str
    objects: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraHealth:
    """The state of one camera that diagnostics report.

    :param name: empty for a single camera without a name.
    :param is_listening: whether the node is active.
    :param publishers: number of publishers that the node receives its images from.
    :param warnings: what is wrong with its images, the worst first.
    :param note: what is unusual about its images but may be intended.
    :param image: size and encoding of its newest image, for people.
    :param silent_s: seconds since an image arrived, or since the node subscribed.
    :param rates_hz: frames ``in`` and ``answered`` per second.
    :param counts: number of its frames by what happened to them, since the node subscribed.
    :param recent: number of images that came ``in`` and were ``lost on the way`` recently.
    :param spreads: durations of processing, and ages.
    :param last_error: why the last frame could not be processed; empty when it was.
    """

    name: str
    topic: str
    is_listening: bool
    publishers: int
    warnings: Sequence[str]
    note: str
    image: str
    silent_s: float
    rates_hz: Mapping[str, float]
    counts: Mapping[str, int]
    recent: Mapping[str, int]
    spreads: Mapping[str, Spread]
    last_error: str


def diagnostic_array(
    node: NodeHealth, cameras: Sequence[CameraHealth], stamp: Time
) -> DiagnosticArray:
    """Return the node's status first, then one per camera."""
    statuses = [_node_status(node)]
    statuses += [_camera_status(node, camera) for camera in cameras]
    return DiagnosticArray(header=Header(stamp=stamp), status=statuses)


def _node_status(health: NodeHealth) -> DiagnosticStatus:
    config = health.config
    values: dict[str, object] = {
        "state": health.state,
        "device": health.device or "none",
        "device asked for": config.device,
        "precision": health.precision or "none",
        "precision asked for": config.precision,
        "CLIP": config.clip_model,
        "SAM": config.sam_model,
        "calibration": health.calibration or "none",
        "query": "; ".join(health.query.names),
        "query sequence": health.query.sequence,
        "queries refused": health.refused,
        "texts encoded": health.texts.encoded,
        "text cache hits": health.texts.reused,
    }
    values.update({f"objects: {name}": count for name, count in health.objects.items()})
    for stage, count in health.counts.items():
        values[f"{stage}: count"] = count
        values.update(_percentiles(stage, health.spreads))
    values["last error"] = health.last_error or health.refusal
    return _status(health.name.lstrip("/"), _node_verdict(health), health.device, values)


def _node_verdict(health: NodeHealth) -> Verdict:
    if health.last_error:
        return DiagnosticStatus.ERROR, health.last_error
    if health.state != "active":
        return DiagnosticStatus.WARN, f"not active: {health.state}"
    if health.fell_back:
        requested = health.config.device
        message = f"device {requested} was requested but is not available: running on the CPU"
        return DiagnosticStatus.WARN, message
    if health.warnings:
        return DiagnosticStatus.WARN, health.warnings[0]
    if health.refusal:
        return DiagnosticStatus.WARN, health.refusal
    if health.unreadable:
        return DiagnosticStatus.WARN, f"label '{health.unreadable[0][:60]}' {UNREADABLE}"
    if health.unknown:
        return DiagnosticStatus.WARN, health.unknown[0]
    if health.too_long:
        return DiagnosticStatus.WARN, f"label '{health.too_long[0][:60]}' {TOO_LONG}"
    if not health.query.labels:
        return DiagnosticStatus.OK, "waiting for a query"
    return DiagnosticStatus.OK, "ready"


def _camera_status(node: NodeHealth, health: CameraHealth) -> DiagnosticStatus:
    values: dict[str, object] = {
        "topic": health.topic,
        "publishers": health.publishers,
        "image": health.image,
        "seconds since the last image": f"{health.silent_s:.1f}",
    }
    for name, rate_hz in health.rates_hz.items():
        values[f"frames {name} [Hz]"] = f"{rate_hz:.1f}"
    for name, count in health.counts.items():
        values[f"frames {name}"] = count
    for name in health.spreads:
        values.update(_percentiles(name, health.spreads))
    values["last error"] = health.last_error
    name = f"{node.name.lstrip('/')}: {health.name or 'camera'}"
    return _status(name, _camera_verdict(node, health), health.topic, values)


def _camera_verdict(node: NodeHealth, health: CameraHealth) -> Verdict:
    timeout_s = node.config.image_timeout_s
    if not health.is_listening:
        return DiagnosticStatus.OK, "not listening"
    if not health.publishers:
        nobody = f"nobody publishes {health.topic}"
        return DiagnosticStatus.WARN, next(iter(health.warnings), nobody)
    if health.publishers > 1:
        message = f"{health.publishers} publishers on {health.topic}: their frames are mixed"
        return DiagnosticStatus.WARN, message
    if timeout_s and health.silent_s > timeout_s:
        message = f"no image on {health.topic} for {health.silent_s:.0f} s"
        return DiagnosticStatus.WARN, "; ".join(filter(None, [message, _loss(health)]))
    if health.last_error:
        return DiagnosticStatus.ERROR, health.last_error
    if message := _loss(health) or _lateness(health):
        return DiagnosticStatus.WARN, message
    if health.warnings:
        return DiagnosticStatus.WARN, health.warnings[0]
    return DiagnosticStatus.OK, "; ".join(filter(None, [_activity(node, health), health.note]))


def _activity(node: NodeHealth, health: CameraHealth) -> str:
    if not node.query.labels:
        return "images arrive; nothing is asked for, no work is done"
    return "answering frames" if health.counts.get("answered") else "images arrive"


def _loss(health: CameraHealth) -> str:
    """Return a warning when images are lost on their way; else empty."""
    lost = health.recent.get("lost on the way", 0)
    sent = lost + health.recent.get("in", 0)
    if lost <= MAX_LOSS * sent:
        return ""
    return f"{lost} of the last {sent} images were lost on their way: {loss_advice()}"


def _lateness(health: CameraHealth) -> str:
    """Return a warning when images arrive late; else empty."""
    age = health.spreads.get("age on arrival")
    if age is None or health.counts["in"] < MIN_LATE_IMAGES or not LATE_S < age.p50_s < OLD_S:
        return ""
    return (
        f"images arrive {age.p50_s:.1f} s after their stamps: the network is too slow for them "
        "(image_transport: compressed), or the clocks of two machines differ"
    )


def _percentiles(name: str, spreads: Mapping[str, Spread]) -> dict[str, object]:
    if name not in spreads:
        return {}
    spread = spreads[name]
    return {
        f"{name}: p50 [s]": f"{spread.p50_s:.4f}",
        f"{name}: p95 [s]": f"{spread.p95_s:.4f}",
    }


def _status(
    name: str, verdict: Verdict, hardware_id: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    level, message = verdict
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
