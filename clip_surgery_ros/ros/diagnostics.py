"""The node's health as a diagnostics message: one status of the node and one per camera.

Levels mean: ERROR, it does not do its work until somebody mends something; WARN, it works or
could, but not as was asked for; OK, all is as it should be, even when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from clip_surgery_ros.core.text import TOO_LONG, UNREADABLE, TextCounts
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.tally import Spread
from clip_surgery_ros.ros.transport import cure_of_loss

Verdict = tuple[bytes, str]
LOSS_TO_WARN_OF = 0.1
"""Share of a camera's images: now and then one is lost on any wireless link."""
LATE_S, OLD_S = 1.0, 60.0
"""Images that arrive so many seconds after their stamps are late; older ones were recorded."""
LATE_IMAGES = 10
"""So many are looked at before they are called late: fewer tell of a busy moment."""


@dataclass(frozen=True)
class NodeHealth:
    """What is worth knowing of the node.

    :param name: the node's full name.
    :param state: lifecycle state.
    :param device: where the networks run; empty when none are loaded.
    :param precision: in which arithmetic; empty when none are loaded.
    :param fell_back: CUDA was asked for and the CPU is used.
    :param unreadable: labels of the query in letters that CLIP cannot read.
    :param unknown: what CLIP does not know of the query, a sentence per label.
    :param too_long: labels of the query that CLIP reads in part only.
    :param complaints: what keeps queries and the time from arriving, the worst first.
    :param refused: queries refused so far, and ``refusal`` why the last was, if it was.
    :param counts: runs of each stage and answers to calls, since the networks were loaded.
    :param spreads: seconds of each stage.
    :param last_error: why the last transition failed; empty when it did not.
    """

    name: str
    config: Config
    state: str
    device: str
    precision: str
    fell_back: bool
    query: Query
    unreadable: Sequence[str]
    unknown: Sequence[str]
    too_long: Sequence[str]
    complaints: Sequence[str]
    refused: int
    refusal: str
    texts: TextCounts
    counts: Mapping[str, int]
    spreads: Mapping[str, Spread]
    last_error: str


@dataclass(frozen=True)
class CameraHealth:
    """What is worth knowing of one camera.

    :param name: empty for the only one.
    :param listening: whether the node is active.
    :param publishers: how many publish its images, so that they are heard.
    :param complaints: what is wrong with how its images come, the worst first.
    :param remark: what is odd about its images, and may be as it should.
    :param image: what its newest image is, for people.
    :param silent_s: seconds since an image arrived, or since listening began.
    :param rates_hz: frames in and answered per second.
    :param counts: what became of its frames since listening began.
    :param lately: how many came ``in`` and how many were ``lost on the way``, of late.
    :param spreads: seconds of work and of age when answered.
    :param last_error: why the last frame could not be answered; empty when it was.
    """

    name: str
    topic: str
    listening: bool
    publishers: int
    complaints: Sequence[str]
    remark: str
    image: str
    silent_s: float
    rates_hz: Mapping[str, float]
    counts: Mapping[str, int]
    lately: Mapping[str, int]
    spreads: Mapping[str, Spread]
    last_error: str


def diagnostic_array(
    node: NodeHealth, cameras: Sequence[CameraHealth], stamp: Time
) -> DiagnosticArray:
    """The node's status first, then one per camera."""
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
        "query": "; ".join(health.query.names),
        "query sequence": health.query.sequence,
        "queries refused": health.refused,
        "texts encoded": health.texts.encoded,
        "text cache hits": health.texts.reused,
    }
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
        asked = health.config.device
        return DiagnosticStatus.WARN, f"device {asked} was asked for and is not there: on the CPU"
    if health.complaints:
        return DiagnosticStatus.WARN, health.complaints[0]
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
    if not health.listening:
        return DiagnosticStatus.OK, "not listening"
    if not health.publishers:
        nobody = f"nobody publishes {health.topic}"
        return DiagnosticStatus.WARN, next(iter(health.complaints), nobody)
    if health.publishers > 1:
        said = f"{health.publishers} publishers on {health.topic}: their frames are mixed"
        return DiagnosticStatus.WARN, said
    if timeout_s and health.silent_s > timeout_s:
        said = f"no image on {health.topic} for {health.silent_s:.0f} s"
        return DiagnosticStatus.WARN, "; ".join(filter(None, [said, _loss(health)]))
    if health.last_error:
        return DiagnosticStatus.ERROR, health.last_error
    if said := _loss(health) or _lateness(health):
        return DiagnosticStatus.WARN, said
    if health.complaints:
        return DiagnosticStatus.WARN, health.complaints[0]
    return DiagnosticStatus.OK, "; ".join(filter(None, [_activity(node, health), health.remark]))


def _activity(node: NodeHealth, health: CameraHealth) -> str:
    if not node.query.labels:
        return "images arrive; nothing is asked for, no work is done"
    return "answering frames" if health.counts.get("answered") else "images arrive"


def _loss(health: CameraHealth) -> str:
    """Whether images come incomplete, of which nothing arrives; empty if they do not."""
    lost = health.lately.get("lost on the way", 0)
    sent = lost + health.lately.get("in", 0)
    if lost <= LOSS_TO_WARN_OF * sent:
        return ""
    return f"{lost} of the last {sent} images were lost on their way: {cure_of_loss()}"


def _lateness(health: CameraHealth) -> str:
    """Whether images come late; empty if they do not."""
    age = health.spreads.get("age on arrival")
    if age is None or health.counts["in"] < LATE_IMAGES or not LATE_S < age.p50_s < OLD_S:
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
