"""Scenes: which objects, where they rest, the room and the light; all follows from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.catalogue import Kind
from clip_surgery_ros.world.colours import FINISH_SHARES, FINISHES, NEVER_METALLIC
from clip_surgery_ros.world.light import Light, random_light
from clip_surgery_ros.world.objects import KINDS, NAMES, build_object
from clip_surgery_ros.world.placing import Placer
from clip_surgery_ros.world.room import Ground, Room, shelf_room, table_room
from clip_surgery_ros.world.seeds import VARIANTS, split_of
from clip_surgery_ros.world.world_object import WorldObject

Rng = np.random.Generator


@dataclass(frozen=True)
class SceneStyle:
    """What scenes are like; probabilities are 0 to 1.

    :param count: least and most objects asked for; some may find no room.
    :param names: objects to choose from; all if empty.
    :param reach: half the side of the square of table that is used, metres; smaller is fuller.
    :param gap: between objects side by side, metres.
    :param lying: probability that an object that may lie does.
    :param on_others: that an object is stacked on, put in or leant on another.
    :param alike: that a scene has two or three of the same object.
    :param same_name: that a scene has one shape in two colours.
    :param same_colour: that a scene has two shapes in one colour.
    :param shelves: on shelves instead of on a table.
    :param clear: metres added between table and walls, so that a camera can circle.
    """

    count: tuple[int, int] = (4, 9)
    names: tuple[str, ...] = ()
    reach: float = 0.22
    gap: float = 0.006
    lying: float = 0.25
    on_others: float = 0.3
    alike: float = 0.2
    same_name: float = 0.25
    same_colour: float = 0.25
    shelves: bool = False
    clear: float = 0.0


TABLE = SceneStyle()
FEW = SceneStyle(count=(1, 3), reach=0.12)
CLUTTER = SceneStyle(count=(12, 18), reach=0.22, gap=0.0, on_others=0.45)
ALIKE = SceneStyle(count=(5, 9), alike=1.0)
SHELVES = SceneStyle(count=(18, 26), shelves=True, on_others=0.25)


@dataclass(frozen=True)
class Scene:
    """Objects at rest in a room.

    :param seed: makes the scene again, with the same style.
    :param objects: by instance, from 1 on.
    """

    seed: int
    objects: dict[int, WorldObject]
    room: Room
    light: Light

    def centre(self) -> NDArray[np.float64]:
        """Return the middle of the objects, (3,), metres."""
        if not self.objects:
            return self.room.grounds[0].centre
        vertices = np.concatenate([item.vertices() for item in self.objects.values()])
        return np.asarray((vertices.min(0) + vertices.max(0)) / 2)

    def with_objects(self, objects: dict[int, WorldObject]) -> Scene:
        """Return the same scene with other objects or poses."""
        return replace(self, objects=objects)


def _colour(rng: Rng, kind: Kind) -> str:
    """Return a random colour of those that an object is offered in, or none."""
    return str(rng.choice(kind.colours)) if kind.colours else ""


def random_object(
    rng: Rng, split: str, name: str, colour: str | None = None, finish: str | None = None
) -> WorldObject:
    """Return an object at the origin, its proportions among those of a split.

    :param name: in ``objects.NAMES``.
    :param colour: None for a random one.
    :param finish: None for a random one; food is glossy and what has no colour has no finish.
    :raises WorldError: there is no such object, or it is not offered in this colour.
    """
    if name not in KINDS:
        raise WorldError(f"no object {name!r} in the world; there are: {', '.join(NAMES)}")
    kind = KINDS[name]
    if colour and colour not in kind.colours:
        offered = ", ".join(kind.colours) or "no named colour"
        raise WorldError(f"{name!r} is not offered in {colour!r}; it comes in {offered}")
    variant = int(rng.choice(VARIANTS[split]))
    drawn_colour, drawn = _colour(rng, kind), str(rng.choice(FINISHES, p=FINISH_SHARES))
    colour = drawn_colour if colour is None else colour
    finish = drawn if finish is None else finish
    if kind.natural or not kind.colours:
        finish = ""
    elif finish == "metallic" and colour in NEVER_METALLIC:
        finish = "glossy"
    parts, look = build_object(name, variant), int(rng.integers(1 << 30))
    return WorldObject(name, colour, finish, parts, np.eye(4), kind.natural, look)


def _choose(rng: Rng, split: str, style: SceneStyle) -> list[WorldObject]:
    """Return the objects of a scene, not yet placed."""
    names = style.names or NAMES
    count = int(rng.integers(style.count[0], style.count[1] + 1))
    coloured = [name for name in names if len(KINDS[name].colours) > 1]
    chosen: list[WorldObject] = []
    if rng.random() < style.alike:
        first = random_object(rng, split, str(rng.choice(names)))
        copies = int(rng.integers(2, 4))
        chosen += [replace(first, look=int(rng.integers(1 << 30))) for _ in range(copies)]
    if coloured and rng.random() < style.same_name:
        name = str(rng.choice(coloured))
        pair = rng.choice(KINDS[name].colours, 2, replace=False)
        chosen += [random_object(rng, split, name, str(colour)) for colour in pair]
    if coloured and rng.random() < style.same_colour:
        first = random_object(rng, split, str(rng.choice(coloured)))
        others = [n for n in coloured if first.colour in KINDS[n].colours and n != first.name]
        chosen.append(first)
        if others:
            chosen.append(random_object(rng, split, str(rng.choice(others)), first.colour))
    while len(chosen) < count:
        chosen.append(random_object(rng, split, str(rng.choice(names))))
    return chosen[:count]


def _spread(item: WorldObject) -> float:
    """Return how much table an object takes, metres."""
    low, high = item.bounds()
    return float((high - low)[:2].max())


def _place_on_others(
    placer: Placer, item: WorldObject, standing: list[int], rng: Rng
) -> WorldObject | None:
    """Try to put an object in or on one that stands on the ground."""
    for index in rng.permutation(np.array(standing, np.int64))[:3]:
        support = placer.placed[int(index)].kind
        if support.holds:
            placed = placer.put_in(item, int(index))
        elif not support.carries:
            continue
        else:
            placed = placer.stack(item, int(index), bool(rng.random() < 0.3))
        if placed is not None:
            return placed
    return None


def _lean(placer: Placer, item: WorldObject, standing: list[int], rng: Rng) -> WorldObject | None:
    """Try to lean an object against one that stands on the ground."""
    for index in rng.permutation(np.array(standing, np.int64)):
        placed = placer.lean(item, int(index))
        if placed is not None:
            return placed
    return None


def _arrange(placer: Placer, items: Sequence[WorldObject], style: SceneStyle, rng: Rng) -> None:
    """Place objects, the largest first, but those that are to lean after all others; those
    without room are left out.
    """
    standing: list[int] = []
    leaning = [item.kind.leans and rng.random() < style.on_others for item in items]
    order = sorted(range(len(items)), key=lambda k: (leaning[k], -_spread(items[k])))
    for k in order:
        item, placed = items[k], None
        if leaning[k]:
            placed = _lean(placer, item, standing, rng)
        elif standing and rng.random() < style.on_others:
            placed = _place_on_others(placer, item, standing, rng)
        if placed is None and placer.stand(item, bool(rng.random() < style.lying)):
            standing.append(len(placer.placed) - 1)


def make_scene(seed: int, style: SceneStyle = TABLE) -> Scene:
    """Return a scene.

    :param seed: in one of ``seeds.SPLITS``, which decides the objects' proportions.
    :raises WorldError: the seed is in no split, or a wheel is missing.
    """
    split = split_of(seed)
    rng = np.random.default_rng([seed, 0])
    return _arranged_scene(seed, _choose(rng, split, style), style, rng)


def scene_of(seed: int, items: Sequence[WorldObject], style: SceneStyle = TABLE) -> Scene:
    """Return a scene of given objects, as far as there is room for them.

    :param seed: of room, light and places.
    :param items: not yet placed; their instances are in no special order.
    :param style: of which ``reach``, ``gap``, ``lying``, ``on_others``, ``shelves`` and ``clear``
        count.
    """
    return _arranged_scene(seed, items, style, np.random.default_rng([seed, 0]))


def _arranged_scene(seed: int, items: Sequence[WorldObject], style: SceneStyle, rng: Rng) -> Scene:
    """Return a scene of objects, which are placed here."""
    if style.shelves:
        room = shelf_room(rng)
        shares = [items[k :: len(room.grounds)] for k in range(len(room.grounds))]
    else:
        room = table_room(rng, style.clear)
        shares = [items]
    placed: list[WorldObject] = []
    for ground, share in zip(room.grounds, shares, strict=True):
        placer = Placer(ground, _half(ground, style), rng, style.gap)
        _arrange(placer, share, style, rng)
        placed += placer.placed
    order = rng.permutation(len(placed))
    objects = {k + 1: placed[int(i)] for k, i in enumerate(order)}
    return Scene(seed, objects, room, random_light(rng, room.slabs[0].material.rgb))


def _half(ground: Ground, style: SceneStyle) -> tuple[float, float]:
    """Return half the sides of the part of a ground that is used, metres."""
    x, y = ground.half
    if style.shelves:
        return x * 0.95, y * 0.6
    return min(x * 0.92, style.reach * 1.25), min(y * 0.92, style.reach)
