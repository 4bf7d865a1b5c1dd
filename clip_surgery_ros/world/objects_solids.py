"""Boxes, balls and other plain solids, and toys. Lengths in metres."""

from __future__ import annotations

import numpy as np

from clip_surgery_ros.world.catalogue import Parts, Rng, Solid, kind
from clip_surgery_ros.world.shapes import (
    box,
    circle,
    cylinder,
    lathe,
    polygon,
    rectangle,
    rounded_box,
    several,
    smooth_curve,
    sphere,
    torus,
)


@kind("box", lies=True, carries=True)
def carton(g: Rng) -> Parts:
    x, y, z = g.uniform(0.07, 0.13), g.uniform(0.06, 0.1), g.uniform(0.05, 0.12)
    tape = box(x * 1.001, 0.016, z * 1.002).translate((0, 0, z / 2))
    return [(box(x, y, z).translate((0, 0, z / 2)), "main"), (tape, "tape")]


@kind("cereal box", lies=True, leans=True, carries=True)
def cereal_box(g: Rng) -> Parts:
    x, y, z = g.uniform(0.14, 0.18), g.uniform(0.045, 0.06), g.uniform(0.2, 0.26)
    return [(box(x, y, z).translate((0, 0, z / 2)), "print")]


@kind("block", lies=True, carries=True)
def block(g: Rng) -> Parts:
    a = g.uniform(0.035, 0.055)
    return [(rounded_box(a, a, a, a * 0.06), "main")]


@kind("brick", lies=True, carries=True)
def brick(g: Rng) -> Parts:
    a, columns = g.uniform(0.016, 0.02), int(g.integers(2, 5))
    studs = several(
        cylinder(a * 0.24, a * 0.32, 20).translate(
            ((i - (columns - 1) / 2) * a, (j - 0.5) * a, a * 1.2)
        )
        for i in range(columns)
        for j in range(2)
    )
    return [(rounded_box(columns * a, 2 * a, a * 1.2, 0.0006), "main"), (studs, "main")]


@kind("ball", symmetric=True)
def ball(g: Rng) -> Parts:
    r = g.uniform(0.03, 0.06)
    return [(sphere(r, 48), "main")]


@kind("cylinder", lies=True, symmetric=True, carries=True)
def solid_cylinder(g: Rng) -> Parts:
    r, h = g.uniform(0.018, 0.032), g.uniform(0.05, 0.1)
    return [(lathe([(r - 0.001, 0), (r, 0.001), (r, h - 0.001), (r - 0.001, h)]), "main")]


@kind("cone", lies=True, symmetric=True)
def cone(g: Rng) -> Parts:
    r, h = g.uniform(0.03, 0.045), g.uniform(0.06, 0.11)
    return [(lathe([(r, 0), (r, 0.003), (0.0012, h - 0.0005), (0, h)]), "main")]


@kind("ring", symmetric=True)
def ring(g: Rng) -> Parts:
    return [(torus(g.uniform(0.035, 0.05), g.uniform(0.009, 0.015)), "main")]


@kind("pyramid")
def pyramid(g: Rng) -> Parts:
    a, h = g.uniform(0.05, 0.08), g.uniform(0.05, 0.08)
    return [(rectangle(a, a).extrude(h, scale_top=(0.01, 0.01)), "main")]


@kind("traffic cone", lies=True)
def traffic_cone(g: Rng) -> Parts:
    h = g.uniform(0.14, 0.2)
    r = h * 0.22

    def band(low: float, high: float) -> Solid:
        a, b = (r * (1 - 0.78 * at) * 1.02 + 0.0005 for at in (low, high))
        return lathe([(a, h * low), (b, h * high)]).translate((0, 0, 0.008))

    cone_ = lathe([(r, 0), (r * 0.98, 0.004), (r * 0.22, h), (0, h)]).translate((0, 0, 0.008))
    return [
        (cone_, "main"),
        (rounded_box(r * 2.6, r * 2.6, 0.01, 0.004), "main"),
        (band(0.45, 0.58), "white"),
        (band(0.74, 0.82), "white"),
    ]


PIPS = {
    1: [(0, 0)],
    2: [(-1, -1), (1, 1)],
    3: [(-1, -1), (0, 0), (1, 1)],
    4: [(-1, -1), (1, 1), (-1, 1), (1, -1)],
    5: [(-1, -1), (1, 1), (-1, 1), (1, -1), (0, 0)],
    6: [(-1, -1), (1, 1), (-1, 1), (1, -1), (-1, 0), (1, 0)],
}
SIDES = {
    1: (0, 0, 0),
    6: (180, 0, 0),
    2: (90, 0, 0),
    5: (-90, 0, 0),
    3: (0, 90, 0),
    4: (0, -90, 0),
}
"""Degrees about x, y, z that turn the top of a dice to the side with this number."""


@kind("dice", lies=True)
def dice(g: Rng) -> Parts:
    a = g.uniform(0.018, 0.03)
    body = rounded_box(a, a, a, a * 0.16).translate((0, 0, -a / 2))
    sides = []
    for number, at in PIPS.items():
        pip = cylinder(a * 0.02, a * 0.095, 16)
        side = several(pip.translate((x * a * 0.26, y * a * 0.26, a * 0.482)) for x, y in at)
        sides.append(side.rotate(SIDES[number]))
    return [(body, "main"), (several(sides), "contrast")]


@kind("tape roll", lies=True, symmetric=True, carries=True)
def tape_roll(g: Rng) -> Parts:
    r, h = g.uniform(0.04, 0.052), g.uniform(0.02, 0.045)
    roll = (circle(r, 48) - circle(r * 0.62, 48)).extrude(h)
    core = (circle(r * 0.65, 48) - circle(r * 0.6, 48)).extrude(h * 0.996)
    return [(roll, "main"), (core.translate((0, 0, h * 0.002)), "cardboard")]


@kind("toy car")
def toy_car(g: Rng) -> Parts:
    length = g.uniform(0.07, 0.09)
    w = length * 0.45
    side = smooth_curve(
        [
            (-0.5, 0.12),
            (-0.5, 0.3),
            (-0.42, 0.36),
            (-0.2, 0.38),
            (-0.08, 0.56),
            (0.2, 0.56),
            (0.33, 0.38),
            (0.47, 0.34),
            (0.5, 0.2),
            (0.5, 0.12),
        ],
        4,
    )
    body = polygon(side * length).extrude(w).rotate((90, 0, 0)).translate((0, w / 2, 0))
    window = polygon(
        np.array([(-0.15, 0.39), (-0.06, 0.52), (0.18, 0.52), (0.28, 0.39)]) * length
    ).extrude(w * 1.01)

    def wheels(width: float, radius: float, out: float) -> Solid:
        wheel = cylinder(length * width, length * radius, 28).rotate((90, 0, 0))
        return several(
            wheel.translate((x * length, y * w + length * out, length * 0.115))
            for x in (-0.3, 0.3)
            for y in (-0.48, 0.48)
        )

    return [
        (body, "main"),
        (window.rotate((90, 0, 0)).translate((0, w * 0.505, 0)), "screen"),
        (wheels(0.1, 0.115, 0.05), "black"),
        (wheels(0.104, 0.05, 0.052), "steel"),
    ]
