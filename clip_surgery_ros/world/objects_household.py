"""Other objects of a household. Lengths in metres."""

from __future__ import annotations

import numpy as np

from clip_surgery_ros.world.catalogue import Parts, Rng, kind
from clip_surgery_ros.world.shapes import (
    arc,
    circle,
    cylinder,
    half_space_above,
    lathe,
    lying,
    moved,
    polygon,
    rectangle,
    rounded,
    rounded_box,
    rounded_rectangle,
    several,
    smooth_curve,
    sweep,
    torus,
    vessel,
)


@kind("candle", lies=False, symmetric=True)
def candle(g: Rng) -> Parts:
    r, h = g.uniform(0.018, 0.032), g.uniform(0.07, 0.14)
    body = lathe(
        [
            (r, 0),
            (r, h - 0.004),
            (r * 0.95, h),
            (r * 0.8, h - 0.002),
            (r * 0.2, h - 0.006),
        ]
    )
    flame = lathe([(0.0005, 0), (0.0045, 0.008), (0.004, 0.013), (0.0004, 0.027)], 5, 20)
    return [
        (body, "main"),
        (cylinder(0.012, 0.0008, 8).translate((0, 0, h - 0.006)), "black"),
        (flame.translate((0, 0, h + 0.005)), "flame"),
    ]


@kind("light bulb", colours=("white",), natural=True, lies=True)
def light_bulb(g: Rng) -> Parts:
    r = g.uniform(0.028, 0.033)
    glass = lathe(
        [
            (0.013, 0.0),
            (0.015, 0.006),
            (0.02, 0.018),
            (r * 0.97, 0.04),
            (r, 0.055),
            (r * 0.75, 0.078),
            (0.004, 0.088),
            (0, 0.088),
        ],
        5,
    )
    thread = 0.0128 * (1 - 0.08 * (np.arange(40) % 6 >= 3))
    screw = lathe(np.column_stack([thread, np.linspace(-0.024, 0.001, 40)]), segments=28)
    tip = lathe([(0.004, -0.029), (0.009, -0.024)])
    return moved([(glass, "main"), (screw, "steel"), (tip, "black")], (0, 106, 0))


@kind("hat", symmetric=True)
def hat(g: Rng) -> Parts:
    r = g.uniform(0.06, 0.07)
    crown = lathe(
        [
            (r * 1.02, 0.003),
            (r, 0.03),
            (r * 0.93, 0.085),
            (r * 0.7, 0.105),
            (0, 0.1),
        ],
        5,
    )
    brim = polygon(
        [
            (r * 0.9, 0.002),
            (r * 1.3, 0.0),
            (r * 1.75, 0.007),
            (r * 1.76, 0.0085),
            (r * 1.7, 0.0095),
            (r * 1.3, 0.0035),
            (r * 0.9, 0.006),
        ]
    ).revolve(48)
    band = lathe([(r * 1.035, 0.006), (r * 1.01, 0.026)])
    return [(crown, "main"), (brim, "main"), (band, "contrast")]


@kind("stool", carries=True)
def stool(g: Rng) -> Parts:
    r, h = g.uniform(0.07, 0.09), g.uniform(0.13, 0.18)
    directions = arc(1.0, 45, 315, 4)
    legs = [
        sweep([(r * x, r * y, 0), (r * 0.55 * x, r * 0.55 * y, h)], 0.0075, 14)
        ^ half_space_above()
        for x, y in directions
    ]
    bars = [
        sweep(
            [(r * 0.82 * a, r * 0.82 * b, h * 0.4), (r * 0.82 * c, r * 0.82 * d, h * 0.4)],
            0.004,
            10,
        )
        for (a, b), (c, d) in zip(directions, np.roll(directions, -1, 0), strict=True)
    ]
    seat = lathe([(r * 0.95, h - 0.004), (r, h + 0.004), (r * 0.97, h + 0.012), (0, h + 0.014)])
    return [(seat, "main"), *[(solid, "main") for solid in [*legs, *bars]]]


@kind("basket", holds=True, symmetric=True)
def basket(g: Rng) -> Parts:
    r, h = g.uniform(0.07, 0.09), g.uniform(0.07, 0.1)
    body = vessel([(r * 0.75, 0), (r * 0.8, 0.004), (r, h)], 0.004)
    rings = several(
        torus(r * (0.78 + 0.22 * z), 0.0042, 40).translate((0, 0, h * z))
        for z in np.linspace(0.06, 1, 9)
    )
    return [(body, "weave"), (rings, "weave")]


@kind("dumbbell")
def dumbbell(g: Rng) -> Parts:
    length, r = g.uniform(0.13, 0.17), g.uniform(0.03, 0.038)
    weight = rounded(circle(r, 6).offset(-0.003), 0.003, 20).extrude(length * 0.28)
    parts = [
        (weight, "main"),
        (weight.translate((0, 0, length * 0.72)), "main"),
        (cylinder(length, 0.012, 24), "steel"),
    ]
    return [(lying(solid.rotate((0, 0, 30)), r), material) for solid, material in parts]


@kind("soap", lies=False, carries=True)
def soap(g: Rng) -> Parts:
    x, y, z = g.uniform(0.07, 0.09), g.uniform(0.045, 0.055), g.uniform(0.022, 0.03)
    return [(rounded_box(x, y, z, 0.012, 20), "main")]


@kind("sponge", leans=True, carries=True)
def sponge(g: Rng) -> Parts:
    x, y, z = g.uniform(0.085, 0.11), g.uniform(0.055, 0.07), g.uniform(0.024, 0.032)
    return [(rounded_box(x, y, z, 0.004), "pores")]


@kind("bell", symmetric=True)
def bell(g: Rng) -> Parts:
    r = g.uniform(0.035, 0.045)
    body = lathe(
        [(r, 0), (r * 0.82, r * 0.35), (r * 0.6, r), (r * 0.45, r * 1.35), (0, r * 1.5)], 5
    )
    grip = lathe([(r * 0.12, r * 1.45), (r * 0.15, r * 2), (r * 0.2, r * 2.6), (0, r * 2.7)], 4)
    return [(body, "main"), (grip, "wood")]


@kind("spool", lies=True, symmetric=True)
def spool(g: Rng) -> Parts:
    r, h = g.uniform(0.014, 0.02), g.uniform(0.035, 0.05)
    reel = lathe(
        [
            (r, 0),
            (r, h * 0.08),
            (r * 0.5, h * 0.14),
            (r * 0.5, h * 0.86),
            (r, h * 0.92),
            (r, h),
        ]
    )
    winding = r * (0.86 + 0.02 * (np.arange(30) % 2))
    thread = lathe(np.column_stack([winding, np.linspace(h * 0.1, h * 0.9, 30)]))
    return [(reel, "main"), (thread, "main")]


@kind("toothbrush")
def toothbrush(g: Rng) -> Parts:
    length = g.uniform(0.16, 0.19)
    curve = smooth_curve(
        [
            (0, 0, 0.005),
            (length * 0.3, 0, 0.006),
            (length * 0.6, 0, 0.005),
            (length * 0.78, 0, 0.006),
            (length, 0, 0.006),
        ],
        5,
    )
    width = np.interp(
        np.linspace(0, 1, len(curve)),
        [0, 0.1, 0.4, 0.72, 0.82, 0.97, 1],
        [0.004, 0.0068, 0.0072, 0.0035, 0.0058, 0.0058, 0.003],
    )
    tufts = several(
        cylinder(0.011, 0.0014, 8).translate((length * x, y, 0.007))
        for x in np.linspace(0.82, 0.97, 7)
        for y in (-0.0032, 0, 0.0032)
    )
    return [(sweep(curve, width, 14, flat=0.6), "main"), (tufts, "white")]


@kind("comb")
def comb(g: Rng) -> Parts:
    length, depth = g.uniform(0.12, 0.16), g.uniform(0.024, 0.03)
    outline = rounded_rectangle(length, depth, 0.004)
    for x in np.linspace(-0.44, 0.44, 26) * length:
        gap = rectangle(length * 0.016, depth * 0.62)
        outline = outline - gap.translate((x, -depth * 0.3))
    return [(outline.extrude(0.003), "main")]
