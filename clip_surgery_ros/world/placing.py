"""Puts objects where they rest: standing, lying, on or in each other, or leaning.

All are steady by their centre of mass; friction is taken for granted where something leans.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.contact import (
    Contact,
    centre_of_mass,
    first_contact,
    is_inside,
    resting_rotations,
)
from clip_surgery_ros.world.rigid import pose, rotation, transform
from clip_surgery_ros.world.room import Ground
from clip_surgery_ros.world.world_object import WorldObject

Floats = NDArray[np.float64]

DOWN = np.array([0.0, 0.0, -1.0])
TRIES = 40
"""Positions tried before an object is left out."""
STEADY_ON = -0.003
"""A centre of mass may be this far outside its contacts, which a grid finds to 2 mm."""
TILT_DEGREES = (10.0, 24.0)
"""Of what leans, from upright."""
LEAST_SUPPORT = 0.05
"""Height of what may be leant on, metres."""


def apart(a: NDArray[np.float32], b: NDArray[np.float32], gap: float) -> bool:
    """Return whether two convex outlines, (K, 2), are at least a gap apart across some edge."""
    for outline in (a, b):
        edges = np.roll(outline, -1, 0) - outline
        normals = np.stack([edges[:, 1], -edges[:, 0]], 1)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = np.where(length > 1e-9, normals / np.maximum(length, 1e-9), [[1.0, 0.0]])
        at_a, at_b = a @ normals.T, b @ normals.T
        between = np.maximum(at_b.min(0) - at_a.max(0), at_a.min(0) - at_b.max(0))
        if between.max() >= gap:
            return True
    return False


class Placer:
    """Fills a ground with objects, one after the other.

    :param ground: what they stand on.
    :param half: half the sides of the rectangle used, metres.
    :param gap: between objects side by side, metres.
    """

    def __init__(
        self,
        ground: Ground,
        half: tuple[float, float],
        rng: np.random.Generator,
        gap: float = 0.006,
    ) -> None:
        self.ground, self.half, self.gap = ground, half, gap
        self.placed: list[WorldObject] = []
        self._rng = rng
        self._outlines: list[NDArray[np.float32]] = []
        self._topped: set[int] = set()

    def _accept(self, item: WorldObject) -> WorldObject:
        """Keep a placed object."""
        self.placed.append(item)
        self._outlines.append(item.footprint())
        return item

    def _is_free(self, item: WorldObject, but: int = -1) -> bool:
        """Is an object apart from all others, but for one index, and on the ground's rectangle?"""
        outline = item.footprint()
        at = outline - self.ground.centre[:2].astype(np.float32)
        if (np.abs(at) > np.array(self.ground.half, np.float32)).any():
            return False
        return all(
            apart(outline, other, self.gap) for k, other in enumerate(self._outlines) if k != but
        )

    def _turned(self, item: WorldObject, lying: bool) -> Floats:
        """Return a rotation in which an object rests on a plane, with a random yaw."""
        turn = np.eye(3)
        if lying and item.kind.lies:
            rests = resting_rotations(item.parts)
            others = [(r, area) for r, area in rests if r[2, 2] < 0.99] or [(turn, 1.0)]
            weight = np.array([area for _, area in others])
            turn = others[int(self._rng.choice(len(others), p=weight / weight.sum()))][0]
        return rotation("z", self._rng.uniform(0, 2 * np.pi)) @ turn

    def _centred(self, item: WorldObject, turn: Floats, at: Floats, bottom: float) -> WorldObject:
        """Return an object turned, its footprint centred at (x, y), its lowest point at z."""
        corner = item.local_vertices() @ turn.T
        low, high = corner.min(0), corner.max(0)
        middle = (low + high) / 2
        return item.at(pose(turn, (at[0] - middle[0], at[1] - middle[1], bottom - low[2])))

    def stand(self, item: WorldObject, lying: bool = False) -> WorldObject | None:
        """Rest an object on the ground apart from others; None when there is no room.

        :param lying: on another side than the one it is built on, if it may lie.
        """
        for _ in range(TRIES):
            turn = self._turned(item, lying)
            at = self.ground.centre[:2] + self._rng.uniform(-1, 1, 2) * self.half
            candidate = self._centred(item, turn, at, float(self.ground.centre[2]))
            if self._is_free(candidate):
                return self._accept(candidate)
        return None

    def _drop(self, item: WorldObject, index: int) -> tuple[WorldObject, Contact] | None:
        """Lower an object on what is below; None if it meets nothing or does not rest steadily."""
        low = item.vertices()[:, :2].min(0) - 0.001
        high = item.vertices()[:, :2].max(0) + 0.001
        below = [
            other
            for other, outline in zip(self.placed, self._outlines, strict=True)
            if (outline.max(0) > low).all() and (outline.min(0) < high).all()
        ]
        contact = first_contact(item, below, DOWN, float(self.ground.centre[2]))
        if not np.isfinite(contact.distance):
            return None
        centre = transform(item.pose, centre_of_mass(item.parts)[None])[0]
        if not is_inside(centre[:2], contact.points[:, :2], STEADY_ON):
            return None
        lowered = item.at(pose(translation=DOWN * contact.distance) @ item.pose)
        bottom = lowered.vertices()[:, 2].min()
        if bottom < self.ground.centre[2] + 1e-4:  # it missed what it was to rest on
            return None
        apart_from = [
            apart(lowered.footprint(), outline, 0.002)
            for k, (other, outline) in enumerate(zip(self.placed, self._outlines, strict=True))
            if k != index and all(other is not b for b in below)
        ]
        return (lowered, contact) if all(apart_from) else None

    def stack(self, item: WorldObject, index: int, lying: bool = False) -> WorldObject | None:
        """Rest an object on a placed one; None when it would not be steady.

        :param index: of the other in ``placed``.
        """
        if index in self._topped:
            return None
        support = self.placed[index].vertices()
        low, high = support.min(0), support.max(0)
        top = max(other.vertices()[:, 2].max() for other in self.placed) + 0.01
        for _ in range(TRIES // 4):
            reach = (high - low)[:2] * 0.12
            at = ((low + high) / 2)[:2] + self._rng.uniform(-1, 1, 2) * reach
            dropped = self._drop(
                self._centred(item, self._turned(item, lying), at, float(top)), index
            )
            if dropped:
                self._topped.add(index)
                return self._accept(dropped[0])
        return None

    def put_in(self, item: WorldObject, index: int) -> WorldObject | None:
        """Rest an object in a placed one that holds things; None when it does not fit.

        :param index: of the container in ``placed``.
        """
        container = self.placed[index].vertices()
        low, high = container.min(0), container.max(0)
        top = max(other.vertices()[:, 2].max() for other in self.placed) + 0.01
        for attempt in range(TRIES // 2):
            reach = (high - low)[:2] * 0.22 * (attempt > 0)
            at = ((low + high) / 2)[:2] + self._rng.uniform(-1, 1, 2) * reach
            turn = self._turned(item, lying=bool(self._rng.random() < 0.5))
            dropped = self._drop(self._centred(item, turn, at, float(top)), index)
            if dropped is None:
                continue
            points = dropped[0].vertices()
            within = (points[:, :2] > low[:2]).all() and (points[:, :2] < high[:2]).all()
            if within and points[:, 2].min() < high[2] - 0.25 * (high[2] - low[2]):
                return self._accept(dropped[0])
        return None

    def lean(self, item: WorldObject, index: int) -> WorldObject | None:
        """Lean an object on a placed one; None when there is no room or it would fall.

        :param index: of the other in ``placed``, which stands on the ground.
        """
        support = self.placed[index]
        corners = support.vertices()
        if (
            np.ptp(corners[:, 2]) < LEAST_SUPPORT
            or corners[:, 2].min() > self.ground.centre[2] + 1e-3
        ):
            return None
        middle = (corners.min(0) + corners.max(0)) / 2
        for _ in range(TRIES // 4):
            yaw = self._rng.uniform(0, 2 * np.pi)
            toward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
            turn = rotation("z", yaw) @ self._leaning_turn(item)
            start = middle[:2] - toward[:2] * 0.6
            candidate = self._centred(item, turn, start, float(self.ground.centre[2]))
            contact = first_contact(candidate, [support], toward)
            if not np.isfinite(contact.distance):
                continue
            moved = candidate.at(pose(translation=toward * contact.distance) @ candidate.pose)
            touch = contact.points + toward * contact.distance
            if self._holds(moved, touch, toward) and self._is_free(moved, index):
                self._topped.add(index)
                return self._accept(moved)
        return None

    def _leaning_turn(self, item: WorldObject) -> Floats:
        """Return a rotation that stands a flat object on an edge, tilted towards +x."""
        low, high = item.bounds()
        thin, _, long = np.argsort(high - low)
        turn = np.zeros((3, 3))
        turn[0, thin], turn[2, long] = 1, 1
        turn[1] = np.cross(turn[2], turn[0])
        return rotation("y", np.radians(self._rng.uniform(*TILT_DEGREES))) @ turn

    def _holds(self, item: WorldObject, touch: Floats, toward: Floats) -> bool:
        """Does a leaning object stay: is its weight between its foot and where it touches?"""
        vertices = item.vertices()
        foot = vertices[vertices[:, 2] < self.ground.centre[2] + 1e-3]
        centre = transform(item.pose, centre_of_mass(item.parts)[None])[0]
        across = np.array([-toward[1], toward[0], 0.0])
        between = (foot @ toward).max() < centre @ toward < (touch @ toward).min()
        width = np.ptp(vertices @ across)
        straight = abs((touch @ across).mean() - centre @ across) < 0.2 * width
        return bool(between and straight and touch[:, 2].max() > centre[2])
