"""Each object of the rendered world: closed, of a sensible size, standing, in its named colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from world_physics import solids

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world import wheels
from clip_surgery_ros.world.camera import Camera, focal_length, on_sphere
from clip_surgery_ros.world.colours import COLOURS, FINISHES, NATURAL, NEVER_METALLIC
from clip_surgery_ros.world.exposure import NEUTRAL, expose
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.light import neutral_light
from clip_surgery_ros.world.objects import KINDS, NAMES, build_object
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.rigid import pose, rotation
from clip_surgery_ros.world.room import slab
from clip_surgery_ros.world.seeds import VARIANTS
from clip_surgery_ros.world.surfaces import painted
from clip_surgery_ros.world.world_object import WorldObject

LIGHT = neutral_light()
SHADES = {"matte": 24.0, "glossy": 24.0, "metallic": 32.0, "": 24.0}
"""Degrees of hue in Lab that a seen colour may be off."""


def made(name: str, variant: int = 0, colour: str = "", finish: str = "") -> WorldObject:
    kind, turn = KINDS[name], rotation("z", 0.6)
    return WorldObject(
        name, colour, finish, build_object(name, variant), pose(turn), kind.natural, 3
    )


def test_there_are_seventy_objects_in_twelve_colours_and_three_finishes() -> None:
    assert len(NAMES) >= 70
    assert len(COLOURS) == 12
    assert len(FINISHES) == 3


@pytest.mark.parametrize("name", NAMES)
def test_object_is_closed_stands_on_zero_and_has_a_household_size(name: str) -> None:
    item = made(name, variant=VARIANTS["held_out"][0])
    for solid in solids(item):
        assert solid.status().name == "NoError"
        assert solid.volume() > 0
    low, high = item.bounds()
    assert abs(low[2]) < 1e-9
    assert 0.01 < (high - low).max() < 0.6
    for part in item.parts:
        assert np.allclose(np.linalg.norm(part.normals, axis=2), 1, atol=1e-5)


def test_splits_share_no_proportions() -> None:
    assert len({v for r in VARIANTS.values() for v in r}) == sum(map(len, VARIANTS.values()))
    for name in ("mug", "box", "hammer"):
        sizes = {
            split: {tuple(np.round(made(name, v).bounds()[1], 9)) for v in list(variants)[:6]}
            for split, variants in VARIANTS.items()
        }
        assert not sizes["train"] & sizes["held_out"]
        assert not sizes["development"] & sizes["held_out"]


def seen_colour(item: WorldObject) -> np.ndarray:
    """Return the median visible sRGB of an object in neutral light, (3,)."""
    floor = slab((-3, -3, -0.05), (3, 3, 0), painted((150, 150, 150)))
    geometry = build_geometry({1: item}, [floor])
    vertices = item.vertices()
    middle = (vertices.min(0) + vertices.max(0)) / 2
    radius = np.linalg.norm(vertices - middle, axis=1).max()
    camera = Camera(56, 56, focal_length(56, 32))
    camera = camera.at(on_sphere(middle, radius / np.sin(np.radians(15.5)), -1.4, 0.75))
    rendering = render(geometry, LIGHT, camera, antialias=False)
    picture = expose(rendering.light, NEUTRAL, np.random.default_rng(0))
    return np.median(picture[rendering.ids == 1], axis=0)


def lab(srgb: np.ndarray) -> np.ndarray:
    """Return L, a, b of an sRGB colour, (3,)."""
    pixel = (np.asarray(srgb, np.float32) / 255)[None, None]
    return cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0]


def test_seen_colour_is_the_named_colour() -> None:
    wrong = []
    for k, name in enumerate(n for n in NAMES if KINDS[n].colours):
        kind = KINDS[name]
        for j in range(min(2, len(kind.colours))):
            colour = kind.colours[(k + 5 * j) % len(kind.colours)]
            finish = "" if kind.natural else FINISHES[(k + j) % 3]
            if colour in NEVER_METALLIC and finish == "metallic":
                finish = "glossy"
            seen = lab(seen_colour(made(name, k % 8, colour, finish)))
            named = lab(np.array((NATURAL if kind.natural else COLOURS)[colour]))
            chroma = float(np.hypot(*seen[1:]))
            off = float(np.degrees(np.arctan2(seen[2], seen[1]) - np.arctan2(named[2], named[1])))
            off = abs((off + 180) % 360 - 180)
            if colour in ("black", "gray", "white"):
                limits = {"black": (0, 42), "gray": (30, 85), "white": (58, 101)}[colour]
                good = chroma < 14 and limits[0] <= seen[0] <= limits[1]
            else:
                good = off < SHADES[finish] and chroma > 12
            if not good:
                wrong.append(f"{finish} {colour} {name}: L a b {seen.round(0)}, hue off {off:.0f}")
    assert not wrong, "\n".join(wrong)


def test_missing_packages_are_an_error_with_the_pip_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(module: str) -> None:
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(wheels.importlib, "import_module", missing)
    with pytest.raises(WorldError, match=r"manifold3d.*pip install 'clip_surgery_ros\[world\]'"):
        wheels.manifold3d()
    with pytest.raises(WorldError, match=r"embreex.*pip install 'clip_surgery_ros\[world\]'"):
        wheels.embreex("rtcore_scene")


def test_unknown_object_is_an_error() -> None:
    with pytest.raises(WorldError, match="no object 'unicorn'"):
        build_object("unicorn", 0)
