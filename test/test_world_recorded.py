"""The recorded orbit that ships: what the script makes, readable without the compiled packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.record import FRAMES, OBJECTS, RATE, depth_steps, recording
from clip_surgery_ros.world.recorded import ORBIT, TRUTH, UNIT, read_orbit

WITHOUT_WHEELS = """
import sys
sys.modules["embreex"] = sys.modules["manifold3d"] = None
from clip_surgery_ros.world.recorded import read_orbit
print(sum(frame.ids.any() for frame in read_orbit().frames()))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the truth and the first frame, to be damaged."""
    for name in (TRUTH, "00.jpg", "00_depth.png", "00_ids.png"):
        shutil.copy(ORBIT / name, tmp_path / name)
    return tmp_path


def test_orbit_is_what_the_script_records() -> None:
    shipped, source = read_orbit(), recording()
    assert len(shipped) == FRAMES
    for index, made in zip((0, 12), source.frames(RATE, every=12), strict=True):
        frame = shipped.frame(index)
        assert np.abs(frame.rgb.astype(int) - made.rgb).mean() < 4
        assert (frame.ids == made.ids).mean() > 0.999
        same = np.round(frame.sensor_depth / UNIT) == depth_steps(made.sensor_depth)
        assert same.mean() > 0.99
        assert frame.stamp == made.stamp
        assert np.allclose(frame.camera.pose, made.camera.pose)
        assert np.allclose(frame.camera.matrix, made.camera.matrix)
        for kept, truth in zip(frame.objects, made.objects, strict=True):
            assert (kept.instance, kept.name) == (truth.instance, truth.name)
            assert np.allclose(kept.pose, truth.pose)
            assert np.allclose(kept.upright.size, truth.upright.size)
            assert kept.visible == pytest.approx(truth.visible, abs=0.01)


def test_orbit_opens_without_the_compiled_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WHEELS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == FRAMES


def test_orbit_is_small_closed_and_shows_every_object() -> None:
    assert sum(file.stat().st_size for file in ORBIT.iterdir()) < 6e6
    orbit = read_orbit()
    first, last = (orbit.frame(index).camera.pose[:3, 3] for index in (0, FRAMES - 1))
    second = orbit.frame(1).camera.pose[:3, 3]
    assert np.linalg.norm(first - last) == pytest.approx(np.linalg.norm(first - second), rel=0.2)
    frame = orbit.frame(3)
    assert sorted(one.name for one in frame.objects) == sorted(name for name, *_ in OBJECTS)
    for one in frame.objects:
        assert frame.mask(one.instance).sum() == one.pixels
        assert one.pixels > 300


def test_depth_of_the_orbit_lies_on_the_table_and_the_objects() -> None:
    frame = read_orbit().frame(6)
    points = frame.camera.points(frame.sensor_depth)
    for one in frame.objects:
        seen = points[frame.mask(one.instance) & (frame.sensor_depth > 0)]
        local = (seen - one.upright.centre) @ one.upright.pose[:3, :3]
        inside = (np.abs(local) < one.upright.size / 2 + 0.01).all(1)
        assert inside.mean() > 0.85, one.name


def test_missing_and_damaged_recordings_are_refused_in_words(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"no recording in .*orbit\.json is missing"):
        read_orbit(tmp_path / "elsewhere")
    with pytest.raises(WorldError, match=r"01\.jpg of a recording cannot be read"):
        read_orbit(copy).frame(1)
    (copy / "00_ids.png").write_bytes((copy / "00_ids.png").read_bytes()[:60])
    with pytest.raises(WorldError, match=r"00_ids\.png of a recording is damaged"):
        read_orbit(copy).frame(0)
    truth = json.loads((copy / TRUTH).read_text())
    for damaged in ("{", "[]", "{}", json.dumps({**truth, "rate": None})):
        (copy / TRUTH).write_text(damaged)
        with pytest.raises(WorldError, match=r"is not the truth of a recording"):
            read_orbit(copy)
