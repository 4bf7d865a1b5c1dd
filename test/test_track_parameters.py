"""Parameters of ids that last: what follows from them, and what cannot work together."""

from __future__ import annotations

from typing import Any

import pytest

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.node.tracking import settings_of
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tracks.types import TrackSettings


def test_objects_are_followed_only_if_asked_for() -> None:
    assert not Config.from_values().cameras[0].tracking
    values = {"tracking": True, "image_topics": ["/front/image", "/rear/image"]}
    assert [camera.tracking for camera in Config.from_values(values).cameras] == [True, True]


def test_defaults_are_those_of_the_tracker() -> None:
    assert settings_of(Config.from_values()) == TrackSettings()


def test_every_parameter_reaches_the_tracker() -> None:
    values = {
        "track_memory": 31.0,
        "track_missed": 2.5,
        "track_empty": 0.5,
        "track_gate": 0.2,
        "track_speed": 0.4,
        "track_sure_presence": 0.7,
        "track_smooth": 5.0,
    }
    expected = TrackSettings(0.2, 0.4, 1.0, 0.7, 0.5, 2.5, 31.0, 5.0)
    assert settings_of(Config.from_values(values)) == expected


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"track_memory": 2.0}, "track_missed is 3 s and track_memory 2 s, so objects would be"),
        ({"track_empty": 90.0}, "forgotten before they are gone; track_memory must be at least"),
        ({"track_gate": 0.0}, "track_gate"),
        ({"track_speed": -0.1}, "track_speed"),
        ({"track_sure_presence": 1.5}, "track_sure_presence"),
        ({"track_smooth": 0.0}, "track_smooth"),
        ({"tracking": 1}, "wants bool"),
    ],
)
def test_what_cannot_work_is_refused_in_words(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Config.from_values(values)
