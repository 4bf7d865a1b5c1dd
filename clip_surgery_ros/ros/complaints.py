"""What is wrong with how a camera's images come, in words, as far as they tell themselves."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.parameters.cameras import DEMO_FRAME

ANOTHER_CLOCK_S = 3600.0
"""Ages beyond this, either way, are no ages: no image is an hour on its way, and clocks that are
set at all differ by less."""
_UNITS = (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0))


def is_of_another_clock(age_s: float) -> bool:
    """Whether a stamp that is so old, in seconds, is from another clock than the node's."""
    return abs(age_s) > ANOTHER_CLOCK_S


def are_recorded(age_s: float | None, max_age_s: float) -> bool:
    """Whether stamps may well be old: nothing is wrong with a bag where no age is asked for."""
    return age_s is not None and age_s > ANOTHER_CLOCK_S and not max_age_s


def another_clock(topic: str, age_s: float | None, max_age_s: float) -> str:
    """Tell of stamps from another clock; empty when they are not.

    :param age_s: of the newest image; None without a stamp.
    :param max_age_s: the parameter ``max_frame_age_s``.
    """
    if age_s is None or not is_of_another_clock(age_s):
        return ""
    when = f"{_roughly(abs(age_s))} {'ago' if age_s > 0 else 'ahead'}"
    dropped = "max_frame_age_s drops them all" if age_s > 0 else "max_frame_age_s drops none"
    return (
        f"{topic} is stamped {when}, so by another clock: no ages are counted"
        f"{', and ' + dropped if max_age_s else ''}; play a bag with --clock and set "
        "use_sim_time, or set the clocks of both machines"
    )


def depth(topic: str, image: Image | CompressedImage | None) -> str:
    """Tell of an image that is probably a depth image; empty when it is none."""
    if image is None or getattr(image, "encoding", "") != "16UC1":
        return ""
    return (
        f"{topic} is 16UC1, as depth images are (REP 118), and is looked at as a grey picture; "
        "remap image_raw to the camera's colour image, or have the driver call it mono16"
    )


def foreign_to_demo(topic: str, image: Image | CompressedImage | None) -> str:
    """Tell that the demo's networks look at another camera than the demo's; empty for that."""
    if image is None or image.header.frame_id == DEMO_FRAME:
        return ""
    return (
        f"the demo's networks look at {topic} and know generated scenes only: nothing of what "
        "they find there counts; set clip_model and sam_model to real networks"
    )


def _roughly(seconds: float) -> str:
    """So many hours, days or years."""
    unit, size = next((unit for unit in _UNITS if seconds >= 2 * unit[1]), _UNITS[-1])
    return f"{seconds / size:.0f} {unit}"
