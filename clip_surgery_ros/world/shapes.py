"""Primitives that objects are built from: lathed, hollow, swept, extruded and bent solids.

Lengths are in metres and angles in degrees unless a name says otherwise; z is up. Every function
that returns a solid returns a closed one (a ``manifold3d.Manifold``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.world.wheels import manifold3d

if TYPE_CHECKING:
    from manifold3d import CrossSection, Manifold

SEGMENTS = 36
"""Corners of a circle: few enough for speed, enough to look round at 640 x 480."""
RIM = 0.45
"""Radius of a vessel's rounded rim, as a share of its wall; 0.5 would leave no flat part."""

Points = NDArray[np.float64]


def smooth_curve(points: ArrayLike, steps: int = 6, closed: bool = False) -> Points:
    """Return a Catmull-Rom curve through points.

    :param points: (K, D).
    :param steps: points per span.
    """
    p = np.asarray(points, np.float64)
    if closed:
        q = np.vstack([p[-1], p, p[0], p[1]])
    else:
        q = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    spans = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(q, q[1:], q[2:], q[3:], strict=False)
    ]
    return np.vstack(spans if closed else [*spans, p[-1:]])


def polygon(points: ArrayLike) -> CrossSection:
    """Return the area inside an outline, (K, 2), given in either direction."""
    p = np.asarray(points, np.float64)
    x, y = p.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        p = p[::-1]
    return manifold3d().CrossSection([np.ascontiguousarray(p)])


def circle(radius: float, segments: int = SEGMENTS) -> CrossSection:
    """Return a disk round the origin."""
    return manifold3d().CrossSection.circle(radius, segments)


def rectangle(x: float, y: float) -> CrossSection:
    """Return a rectangle round the origin."""
    return manifold3d().CrossSection.square((x, y), True)


def rounded_rectangle(x: float, y: float, radius: float) -> CrossSection:
    """Return a rectangle with round corners, round the origin."""
    return rounded(rectangle(x - 2 * radius, y - 2 * radius), radius, 32)


def rounded(area: CrossSection, by: float, segments: int = 16) -> CrossSection:
    """Return an area grown by a distance (shrunk if negative), with round corners."""
    return area.offset(by, manifold3d().JoinType.Round, circular_segments=segments)


def arc(radius: float, start: float, end: float, count: int = 16) -> Points:
    """Return points of an arc round the origin, (count, 2)."""
    angle = np.radians(np.linspace(start, end, count))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def box(x: float, y: float, z: float) -> Manifold:
    """Return a box round the origin."""
    return manifold3d().Manifold.cube((x, y, z), True)


def rounded_box(x: float, y: float, z: float, radius: float, segments: int = 12) -> Manifold:
    """Return a box with round edges that stands on z = 0, centred in x and y."""
    r = min(radius, x / 2.01, y / 2.01, z / 2.01)
    corner = sphere(r, segments)
    return hull(
        corner.translate((i * (x / 2 - r), j * (y / 2 - r), r + k * (z - 2 * r)))
        for i in (-1, 1)
        for j in (-1, 1)
        for k in (0, 1)
    )


def sphere(radius: float, segments: int = SEGMENTS) -> Manifold:
    """Return a ball round the origin."""
    return manifold3d().Manifold.sphere(radius, segments)


def cylinder(height: float, radius: float, segments: int = SEGMENTS) -> Manifold:
    """Return a cylinder that stands on z = 0."""
    return manifold3d().Manifold.cylinder(height, radius, radius, segments)


def hull(solids: Any) -> Manifold:
    """Return the convex hull of several solids."""
    return manifold3d().Manifold.batch_hull(list(solids))


def several(solids: Any) -> Manifold:
    """Return solids that do not meet as one."""
    return manifold3d().Manifold.compose(list(solids))


def half_space_above(z: float = 0.0) -> Manifold:
    """Return everything (within a metre) above a height."""
    return box(2, 2, 2).translate((0, 0, 1 + z))


def lathe(profile: ArrayLike, steps: int = 0, segments: int = SEGMENTS) -> Manifold:
    """Return a solid of revolution about z.

    :param profile: (K, 2) radius and z, from bottom to top.
    :param steps: points per span of a smooth curve; 0 keeps the corners.
    """
    p = np.array(profile, np.float64)
    if steps:
        p = smooth_curve(p, steps)
    p[:, 0] = np.maximum(p[:, 0], 0)
    return polygon(np.vstack([[0, p[0, 1]], p, [0, p[-1, 1]]])).revolve(segments)


def vessel(profile: ArrayLike, wall: float, steps: int = 0, segments: int = SEGMENTS) -> Manifold:
    """Return a hollow solid of revolution, open at the top, with a round rim.

    :param profile: (K, 2) radius and z of the outside, from bottom to top.
    :param wall: thickness.
    :param steps: points per span of a smooth curve; 0 keeps the corners.
    """
    p = np.array(profile, np.float64)
    if steps:
        p = smooth_curve(p, steps)
    radius, top = p[-1]
    half = np.vstack([[0, p[0, 1]], p, [0, top]])
    full = polygon(half) + polygon(half * [-1, 1])
    opening = rectangle(2 * radius, 6 * wall).translate((0, top + 3 * wall - 1e-4))
    shell = full - rounded(full + opening, -wall)
    shell = rounded(rounded(shell, -RIM * wall, 12), RIM * wall, 12)
    right = manifold3d().CrossSection.square((9, 9)).translate((0, -4))
    return (shell ^ right).revolve(segments)


def torus(radius: float, thickness: float, segments: int = 48) -> Manifold:
    """Return a ring about z with a round section.

    :param radius: of the section's centre.
    :param thickness: radius of the section.
    """
    return circle(thickness, 24).translate((radius, 0)).revolve(segments)


def _transported_frames(points: Points) -> tuple[Points, Points, Points]:
    """Return tangents and two normals, (K, 3) each, that do not twist along a line."""
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    normal = np.cross(tangents[0], np.eye(3)[np.abs(tangents[0]).argmin()])
    normals = []
    for tangent in tangents:
        normal = normal - tangent * (normal @ tangent)
        normal = normal / np.linalg.norm(normal)
        normals.append(normal)
    return tangents, np.array(normals), np.cross(tangents, normals)


def _grid_faces(rings: int, segments: int, closed: bool) -> NDArray[np.uint32]:
    """Return the triangles between neighbouring rings of vertices, (F, 3)."""
    i = np.arange(rings if closed else rings - 1)[:, None] * segments
    j = (i + segments) % (rings * segments)
    s = np.arange(segments)[None]
    e = (s + 1) % segments
    one = np.stack([i + s, i + e, j + e], -1)
    two = np.stack([i + s, j + e, j + s], -1)
    return np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)]).astype(np.uint32)


def sweep(
    points: ArrayLike,
    radius: ArrayLike,
    segments: int = 16,
    closed: bool = False,
    flat: float = 1.0,
) -> Manifold:
    """Return an ellipse swept along a curve.

    :param points: (K, 3) the curve.
    :param radius: one for all, or (K,).
    :param closed: the last point joins the first.
    :param flat: height of the ellipse over its width.
    """
    p = np.asarray(points, np.float64)
    count = len(p)
    r = np.broadcast_to(np.asarray(radius, np.float64), (count,))[:, None, None]
    if closed:
        ends = np.vstack([p[-2:], p, p[:2]])
        _, n, b = (a[2:-2] for a in _transported_frames(ends))
    else:
        _, n, b = _transported_frames(p)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)[None, :, None]
    ring = p[:, None] + r * (np.cos(angle) * n[:, None] + flat * np.sin(angle) * b[:, None])
    vertices = ring.reshape(-1, 3)
    faces = _grid_faces(count, segments, closed)
    if not closed:
        first, last = len(vertices), len(vertices) + 1
        vertices = np.vstack([vertices, p[0], p[-1]])
        s = np.arange(segments)
        e = (s + 1) % segments
        end = (count - 1) * segments
        caps = np.vstack(
            [
                np.column_stack([np.full(segments, first), e, s]),
                np.column_stack([np.full(segments, last), end + s, end + e]),
            ]
        )
        faces = np.vstack([faces, caps.astype(np.uint32)])
    m = manifold3d()
    return m.Manifold(m.Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces)))


def bend(solid: Manifold, curvature: float) -> Manifold:
    """Return a solid along x bent in the xz plane.

    :param curvature: 1 / radius, 1/m.
    """

    def bent(v: Points) -> Points:
        angle = v[:, 0] * curvature
        radius = 1 / curvature + v[:, 2]
        return np.column_stack(
            [radius * np.sin(angle), v[:, 1], radius * np.cos(angle) - 1 / curvature]
        )

    return solid.warp_batch(bent)


def lying(solid: Manifold, height: float) -> Manifold:
    """Return a solid along z turned to lie along x, its axis at a height."""
    return solid.rotate((0, 90, 0)).translate((0, 0, height))


def moved(
    parts: Sequence[tuple[Manifold, str]],
    turn: tuple[float, float, float] = (0, 0, 0),
    by: tuple[float, float, float] = (0, 0, 0),
) -> list[tuple[Manifold, str]]:
    """Return parts of an object, all turned and then moved."""
    return [(solid.rotate(turn).translate(by), material) for solid, material in parts]
