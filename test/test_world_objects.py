"""Each object of the rendered world: closed, of a sensible size, standing, in its named colour."""

from __future__ import annotations

from dataclasses import replace

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
from clip_surgery_ros.world.render import trace_pixels
from clip_surgery_ros.world.rigid import pose, rotation
from clip_surgery_ros.world.room import slab
from clip_surgery_ros.world.seeds import VARIANTS
from clip_surgery_ros.world.shading import Seen, shade, visible_light
from clip_surgery_ros.world.surfaces import painted
from clip_surgery_ros.world.world_object import WorldObject

LIGHT = neutral_light()
SHADES = {"matte": 24.0, "glossy": 24.0, "metallic": 32.0, "": 24.0}
"""Degrees of hue in Lab that a seen colour may be off."""
GREYS = {"black": (0, 42), "gray": (30, 85), "white": (58, 101)}
"""Least and greatest lightness in Lab of colours without a hue."""


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


def seen_colours(item: WorldObject, paints: list[tuple[str, str]]) -> list[np.ndarray]:
    """Return the median visible sRGB, (3,), of an object in colours and finishes, in neutral
    light: light is traced once for all of them.
    """
    floor = slab((-3, -3, -0.05), (3, 3, 0), painted((150, 150, 150)))
    geometry = build_geometry({1: item}, [floor])
    vertices = item.vertices()
    middle = (vertices.min(0) + vertices.max(0)) / 2
    radius = np.linalg.norm(vertices - middle, axis=1).max()
    camera = Camera(44, 44, focal_length(44, 32))
    camera = camera.at(on_sphere(middle, radius / np.sin(np.radians(15.5)), -1.4, 0.75))
    seen = trace_pixels(geometry, camera)
    of_object = np.flatnonzero((seen.depth > 0) & (geometry.instance[seen.triangle] == 1))
    seen = Seen(*(getattr(seen, field)[of_object] for field in Seen.__dataclass_fields__))
    visible = visible_light(geometry, LIGHT, seen, np.arange(len(of_object)) % 16)
    result = []
    for colour, finish in paints:
        materials = build_geometry({1: replace(item, colour=colour, finish=finish)}, [floor])
        light = shade(replace(geometry, materials=materials.materials), LIGHT, seen, visible)
        picture = expose(light[None], NEUTRAL, np.random.default_rng(0))
        result.append(np.median(picture[0], axis=0))
    return result


def lab(srgb: np.ndarray) -> np.ndarray:
    """Return L, a, b of an sRGB colour, (3,)."""
    pixel = (np.asarray(srgb, np.float32) / 255)[None, None]
    return cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0]


def colour_fault(seen: np.ndarray, colour: str, finish: str, natural: bool) -> str:
    """Return what is wrong with a seen colour; nothing if it is the named one."""
    seen = lab(seen)
    named = lab(np.array((NATURAL if natural else COLOURS)[colour]))
    chroma = float(np.hypot(*seen[1:]))
    off = float(np.degrees(np.arctan2(seen[2], seen[1]) - np.arctan2(named[2], named[1])))
    off = abs((off + 180) % 360 - 180)
    if colour in GREYS:
        low, high = GREYS[colour]
        good = chroma < 14 and low <= seen[0] <= high
    else:
        good = off < SHADES[finish] and chroma > 12
    return "" if good else f"L a b {seen.round(0)}, hue off {off:.0f}"


@pytest.mark.parametrize("part", range(4))
def test_seen_colour_is_the_named_colour_in_all_offered_colours_and_finishes(part: int) -> None:
    wrong = []
    names = [name for name in NAMES if KINDS[name].colours]
    assert sum(len(KINDS[name].colours) for name in names) > 700
    for k, name in list(enumerate(names))[part::4]:
        kind = KINDS[name]
        paints = [
            (colour, finish)
            for colour in kind.colours
            for finish in ([""] if kind.natural else FINISHES)
            if not (colour in NEVER_METALLIC and finish == "metallic")
        ]
        item = made(name, k % 8)
        for paint, seen in zip(paints, seen_colours(item, paints), strict=True):
            fault = colour_fault(seen, *paint, kind.natural)
            if fault:
                wrong.append(f"{' '.join(paint)} {name}: {fault}")
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
