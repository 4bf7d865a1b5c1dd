"""What a browser may send: checked, small, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from clip_surgery_ros.core.errors import ClipSurgeryError

LARGEST_MESSAGE = 32_768
"""Bytes; a query of the greatest length with all its thresholds has less."""
LONGEST_TEXT = 4_000
"""Letters of a query; the node takes far less, and says so."""
MOST_THRESHOLDS = 256
MOST_OBJECTS, LONGEST_NAME = 64, 100
"""Names of what is taken away, and letters of each."""
MOST_CAMERAS = 16
"""Cameras that one viewer may watch at once."""
CHANNELS = frozenset({"frame", "heatmaps"})
"""What can be watched of a camera."""
_CAMERA = re.compile(r"[A-Za-z0-9_/]{0,128}")
_LONGEST_TOKEN = 512
_LARGEST_ID = 2**31


class RequestError(ClipSurgeryError):
    """A message of a browser that cannot be used."""


@dataclass(frozen=True)
class Hello:
    """The first message.

    :param token: the secret; empty if there is none.
    """

    token: str


@dataclass(frozen=True)
class Watch:
    """What the viewer looks at from now on.

    :param wishes: (camera, channel), with channels of :data:`CHANNELS`; empty: nothing.
    """

    wishes: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Ask:
    """A new query.

    :param number: which the answer repeats.
    :param text: as in the topic ``query``.
    :param thresholds: raw similarity (cosine, -1 to 1) by label, for some labels or none.
    """

    number: int
    text: str
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Arrange:
    """How the demo's table shall be.

    :param view: number of the view where the camera stays; -1: none.
    :param without: names of what is taken away.
    """

    view: int
    without: tuple[str, ...]


Request: TypeAlias = Hello | Watch | Ask | Arrange


def parse_request(text: str) -> Request:
    """Return what a browser wants.

    >>> parse_request('{"type": "watch", "wishes": [["", "frame"]]}')
    Watch(wishes=frozenset({('', 'frame')}))

    :param text: JSON.
    :raises RequestError: it is nothing that the page sends.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("a message is no JSON") from error
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "hello":
        return Hello(_text(message.get("token", ""), _LONGEST_TOKEN))
    if kind == "watch":
        return Watch(_wishes(message.get("wishes")))
    if kind == "ask":
        return Ask(
            _number(message.get("number")),
            _text(message.get("text"), LONGEST_TEXT),
            _thresholds(message.get("thresholds", {})),
        )
    if kind == "arrange":
        return Arrange(_number(message.get("view"), -1), _names(message.get("without")))
    raise RequestError("a message is of no known type")


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise RequestError(f"a text is missing, or has more than {longest} letters")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RequestError("a text has letters that no text can have")  # ROS cannot send them
    return value


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < _LARGEST_ID:
        raise RequestError("a message has no number")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_OBJECTS:
        raise RequestError("names are no list, or too many")
    return tuple(_text(name, LONGEST_NAME) for name in value)


def _wishes(value: Any) -> frozenset[tuple[str, str]]:
    if not isinstance(value, list) or len(value) > MOST_CAMERAS * len(CHANNELS):
        raise RequestError("wishes are no list, or too many")
    wishes = set()
    for wish in value:
        if not (
            isinstance(wish, list) and len(wish) == 2 and all(isinstance(w, str) for w in wish)
        ):
            raise RequestError("a wish is no pair of camera and channel")
        camera, channel = wish
        if not _CAMERA.fullmatch(camera) or channel not in CHANNELS:
            raise RequestError("a wish names no camera, or no channel")
        wishes.add((camera, channel))
    return frozenset(wishes)


def _thresholds(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > MOST_THRESHOLDS:
        raise RequestError("thresholds are no table, or too many")
    for number in value.values():
        if type(number) not in (int, float) or not -1 <= number <= 1:
            raise RequestError("a threshold is no cosine from -1 to 1")
    return {_text(name, LONGEST_TEXT): float(number) for name, number in value.items()}
