"""Profiles: files that say what was fitted for one pair of networks, and where they apply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.ranking import WEIGHTS, RankingModel
from clip_surgery_ros.core.types import Calibration
from clip_surgery_ros.networks.factory import load_networks, network_files
from clip_surgery_ros.networks.profiles import (
    FOLDER,
    Conditions,
    NetworkFile,
    Profile,
    find_profiles,
    read_profile,
    write_profile,
)
from clip_surgery_ros.parameters.config import Config

CONDITIONS = Conditions(144, "v-v", True, ("a photo of a {}.",))
CALIBRATION = Calibration(400, 100, 0.05, 0.04, 0.9, 0.03)
LEVEL = PresenceLevel(12.0, 0.75, 0.5)


def profile_of(clip: Path, sam: Path) -> Profile:
    model = RankingModel(WEIGHTS * 0.5, (-2.0, 5.0), (-4.0, 8.0))
    pair = NetworkFile.of(clip), NetworkFile.of(sam)
    return Profile(*pair, CONDITIONS, LEVEL, model, CALIBRATION)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write two weight files; only their bytes matter here."""
    clip, sam = tmp_path / "clip.safetensors", tmp_path / "sam.safetensors"
    clip.write_bytes(b"c" * 100)
    sam.write_bytes(b"s" * 100)
    return clip, sam


def test_a_profile_is_read_as_it_was_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    profile = profile_of(*pair)
    path = write_profile(profile, tmp_path / FOLDER)
    found = read_profile(path)
    assert found.ranking is not None and profile.ranking is not None
    assert np.allclose(found.ranking.weights, profile.ranking.weights, atol=1e-6)
    assert found.ranking.first == (-2.0, 5.0) and found.ranking.further == (-4.0, 8.0)
    assert replace(found, ranking=None) == replace(profile, ranking=None)
    without_masks = replace(
        profile, ranking=None, calibration=replace(CALIBRATION, score_error=math.nan)
    )
    assert write_profile(without_masks, tmp_path / FOLDER) == path  # replaced
    again = read_profile(path)
    assert again.ranking is None and math.isnan(again.calibration.score_error)
    other = replace(profile, conditions=replace(CONDITIONS, windows=False))
    assert write_profile(other, tmp_path / FOLDER) != path


def test_a_profile_applies_to_its_pair_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    clip, sam = pair
    folders = [tmp_path / "none", tmp_path / FOLDER]
    assert find_profiles(folders, clip, sam) == ()
    write_profile(profile_of(clip, sam), tmp_path / FOLDER)
    (found,) = find_profiles(folders, clip, sam)
    assert found.presence == LEVEL
    assert find_profiles(folders, sam, clip) == ()
    sam.write_bytes(b"s" * 99 + b"t")  # as large, and another network
    assert find_profiles(folders, clip, sam) == ()


def test_weights_are_not_read_where_no_profile_has_their_sizes(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    clip, sam = pair
    write_profile(profile_of(clip, sam), tmp_path / FOLDER)
    sam.unlink()
    sam.mkdir()  # it has another size, and whoever reads it gets an error
    assert find_profiles([tmp_path / FOLDER], clip, sam) == ()


def _set(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("format", value=2), "its format is 2"),
        (_set("presence", "scale", value=-1.0), "presence falls"),
        (_set("presence", "peak_weight", value=-0.1), "presence falls"),
        (_set("presence", "offset", value="high"), "TypeError"),
        (_set("presence", "offset", value=True), "not a finite number"),
        (_set("presence", value=[]), "TypeError"),
        (_set("ranking", "features", value=["quality"]), "its features are"),
        (_set("ranking", "weights", value=[[1.0]]), "its weights are"),
        (_set("ranking", "weights", 0, 0, value=float("inf")), "not a finite number"),
        (_set("ranking", "first", value=[0.0, -1.0]), "the score falls"),
        (_set("ranking", "first", value=[0.0]), "ValueError"),
        (_set("calibration", "pictures", value=0), "on no picture"),
        (_set("calibration", "found", value=1.5), "not from 0 to 1"),
        (_set("calibration", "found", value=None), "TypeError"),
        (_set("clip", value=None), "TypeError"),
        (_set("conditions", value={}), "KeyError"),
    ],
)
def test_damaged_profiles_are_named_and_refused(
    change: Callable[[dict[str, Any]], None],
    reason: str,
    pair: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    path = write_profile(profile_of(*pair), tmp_path / FOLDER)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=reason) as error:
        find_profiles([tmp_path / FOLDER], *pair)
    assert str(path) in str(error.value) and "delete it" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
def test_files_that_are_no_profile_are_refused(
    content: bytes, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    path = write_profile(profile_of(*pair), tmp_path / FOLDER)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged or of another version"):
        read_profile(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        read_profile(path)


def test_networks_use_the_profile_of_the_parameters_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    config = Config.from_values({"device": "cpu"})
    before = load_networks(config)
    conditions = Conditions(before.clip.input_size, "v-v", True, before_templates(config))
    clip, sam = (NetworkFile.of(file) for file in network_files(config))
    made = profile_of(*network_files(config))
    write_profile(replace(made, conditions=conditions), tmp_path / FOLDER)
    networks = load_networks(config)
    settings = networks.settings(config)
    assert (made.clip, made.sam) == (clip, sam)
    assert settings.presence_level == LEVEL and settings.ranking.first == (-2.0, 5.0)
    assert networks.calibration(config) == CALIBRATION
    for changed in ({"clip_windows": "never"}, {"recipe": "reference"}, {"templates": ["single"]}):
        other = Config.from_values({"device": "cpu", **changed})
        assert networks.settings(other).presence_level != LEVEL
        assert networks.settings(other).ranking.first == RankingModel().first


def before_templates(config: Config) -> tuple[str, ...]:
    from clip_surgery_ros.core.templates import parse_templates

    return parse_templates(config.templates)
