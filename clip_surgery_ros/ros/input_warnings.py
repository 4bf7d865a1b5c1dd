"""Warnings about a camera's images, from what the images say of themselves."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.parameters.cameras import DEMO_FRAME

MAX_CLOCK_DIFFERENCE_S = 3600.0
"""An image whose stamp is farther from now than this was stamped by a different clock: no image
travels for an hour, and clocks that are set at all differ by less."""
_UNITS = (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0))


def is_from_different_clock(age_s: float) -> bool:
    """Whether an image of this age, in seconds, was stamped by a clock other than the node's."""
    return abs(age_s) > MAX_CLOCK_DIFFERENCE_S


def is_recorded(age_s: float | None, max_age_s: float) -> bool:
    """Whether an old stamp is to be expected, as from a bag that is played without its clock.

    :param age_s: age of the newest image in seconds; None without a stamp.
    :param max_age_s: the parameter ``max_frame_age_s``; with a limit, an old stamp is a problem.
    """
    return age_s is not None and age_s > MAX_CLOCK_DIFFERENCE_S and not max_age_s


def clock_warning(topic: str, age_s: float | None, max_age_s: float) -> str:
    """Return a warning about stamps from a different clock; empty when they are plausible.

    :param age_s: age of the newest image in seconds; None without a stamp.
    :param max_age_s: the parameter ``max_frame_age_s``.
    """
    if age_s is None or not is_from_different_clock(age_s):
        return ""
    when = f"{_rounded(abs(age_s))} {'ago' if age_s > 0 else 'ahead'}"
    dropped = "max_frame_age_s drops them all" if age_s > 0 else "max_frame_age_s drops none"
    return (
        f"{topic} is stamped {when}, so by a different clock: ages are not measured"
        f"{', and ' + dropped if max_age_s else ''}; play a bag with --clock and set "
        "use_sim_time, or set the clocks of both machines"
    )


def depth_warning(topic: str, image: Image | CompressedImage | None) -> str:
    """Return a warning about an image that is probably a depth image; empty for others."""
    if image is None or getattr(image, "encoding", "") != "16UC1":
        return ""
    return (
        f"{topic} is 16UC1, as depth images are (REP 118), and is processed as a grey image; "
        "remap image_raw to the camera's colour image, or have the driver call it mono16"
    )


def demo_warning(topic: str, image: Image | CompressedImage | None) -> str:
    """Return a warning that the demo's networks get images of a real camera; else empty.

    They get the demo's own images when ``frame_id`` is the demo's.
    """
    if image is None or image.header.frame_id == DEMO_FRAME:
        return ""
    return (
        f"the demo's networks process {topic}, but they know generated scenes only: their results "
        "mean nothing there; set clip_model and sam_model to real networks"
    )


def _rounded(seconds: float) -> str:
    """Return a duration in the largest unit of which there are two or more."""
    unit, size = next((unit for unit in _UNITS if seconds >= 2 * unit[1]), _UNITS[-1])
    return f"{seconds / size:.0f} {unit}"
