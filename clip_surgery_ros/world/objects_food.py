"""Food, in its own colours. Lengths in metres."""

from __future__ import annotations

import numpy as np

from clip_surgery_ros.world.catalogue import Parts, Rng, kind
from clip_surgery_ros.world.shapes import (
    arc,
    half_space_above,
    lathe,
    lying,
    polygon,
    rounded,
    several,
    smooth_curve,
    sphere,
    sweep,
    torus,
)


@kind("apple", colours=("red", "green", "yellow"), natural=True)
def apple(g: Rng) -> Parts:
    r = g.uniform(0.034, 0.042)
    body = lathe(
        [
            (0.0, r * 0.12),
            (r * 0.25, 0.001),
            (r * 0.6, r * 0.08),
            (r * 0.98, r * 0.8),
            (r * 0.95, r * 1.25),
            (r * 0.5, r * 1.72),
            (r * 0.16, r * 1.6),
            (0.002, r * 1.45),
        ],
        6,
    )
    stem = smooth_curve([(0, 0, r * 1.45), (0.001, 0, r * 1.7), (0.006, 0, r * 1.95)], 4)
    return [(body, "fruit"), (sweep(stem, 0.0016, 8), "brown")]


@kind("pear", colours=("green", "yellow"), natural=True)
def pear(g: Rng) -> Parts:
    r = g.uniform(0.034, 0.04)
    body = lathe(
        [
            (0.002, 0.001),
            (r * 0.7, r * 0.1),
            (r, r * 0.85),
            (r * 0.8, r * 1.6),
            (r * 0.48, r * 2.3),
            (r * 0.3, r * 2.65),
            (0.002, r * 2.72),
        ],
        6,
    )
    stem = smooth_curve([(0, 0, r * 2.65), (0.002, 0, r * 2.9), (0.007, 0, r * 3.1)], 4)
    return [(body, "fruit"), (sweep(stem, 0.0015, 8), "brown")]


@kind("banana", colours=("yellow", "green"), natural=True)
def banana(g: Rng) -> Parts:
    length, bow = g.uniform(0.16, 0.2), g.uniform(5.5, 8)
    t = np.linspace(-0.5, 0.5, 26)
    angle = t * length * bow
    curve = np.column_stack([np.sin(angle) / bow, (1 - np.cos(angle)) / bow, 0 * angle])
    radius = np.interp(
        t,
        [-0.5, -0.45, -0.3, 0, 0.3, 0.43, 0.46, 0.5],
        [0.004, 0.008, 0.0155, 0.0175, 0.0155, 0.008, 0.0045, 0.0042],
    )
    stalk = curve[-2:] + (curve[-1] - curve[-2]) * 0.02
    tip = curve[:2] - (curve[1] - curve[0]) * 0.25
    return [
        (sweep(curve, radius, 7), "fruit"),
        (sweep(stalk, 0.0045, 7), "brown"),
        (sweep(tip, 0.0042, 7), "brown"),
    ]


@kind("carrot", colours=("orange",), natural=True)
def carrot(g: Rng) -> Parts:
    length, r = g.uniform(0.13, 0.18), g.uniform(0.015, 0.02)
    t = np.linspace(0, 1, 40)
    radius = r * np.interp(t, [0, 0.1, 0.5, 0.9, 1], [0.1, 0.3, 0.75, 1, 0.6])
    rings = 1 + 0.02 * np.sin(np.arange(40) * 2.1)
    body = lathe(np.column_stack([radius * rings, t * length]))
    leaves = [
        sweep(
            smooth_curve(
                [
                    (0, 0, length * 0.98),
                    (x * 0.008, y * 0.008, length * 1.06),
                    (x * 0.014, y * 0.014, length * 1.16),
                ],
                4,
            ),
            [0.003] * 4 + [0.0022] * 5,
            7,
        )
        for x, y in arc(1.0, 0, 288, 5)
    ]
    parts = [(body, "fruit"), *[(leaf, "green") for leaf in leaves]]
    return [(lying(solid, r), material) for solid, material in parts]


@kind("bread", colours=("brown",), natural=True)
def bread(g: Rng) -> Parts:
    x, y, z = g.uniform(0.17, 0.22), g.uniform(0.08, 0.1), g.uniform(0.06, 0.075)
    top = arc(1, 0, 180, 18) * [y * 0.52, z * 0.5] + [0, z * 0.52]
    outline = [(-y * 0.42, 0), (y * 0.42, 0), (y * 0.44, z * 0.45), *top, (-y * 0.44, z * 0.45)]
    loaf = rounded(polygon(outline).offset(-0.004), 0.004, 12).extrude(x, 8).refine(2)

    def ends_rounded(v: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        end = np.abs(v[:, 0] / x * 2) ** 6
        return np.column_stack(
            [
                v[:, 0],
                v[:, 1] * (1 - 0.25 * end),
                v[:, 2] * (1 - 0.2 * end + 0.02 * np.sin(v[:, 0] * 90)),
            ]
        )

    loaf = loaf.rotate((90, 0, 90)).translate((-x / 2, 0, 0))
    return [(loaf.warp_batch(ends_rounded), "crust")]


@kind("donut", colours=("brown", "pink", "white"), natural=True, symmetric=True)
def donut(g: Rng) -> Parts:
    radius, r = g.uniform(0.029, 0.034), g.uniform(0.014, 0.017)
    icing = torus(radius, r * 1.05) ^ half_space_above(-r * 0.1)
    return [(torus(radius, r), "crust"), (icing, "main")]


@kind("cheese", colours=("yellow",), natural=True)
def cheese(g: Rng) -> Parts:
    r, h = g.uniform(0.07, 0.09), g.uniform(0.035, 0.05)
    wedge = polygon(np.vstack([[(0, 0)], arc(r, 0, 48, 14)])).extrude(h)
    for _ in range(15):
        angle = np.radians(g.choice((0, 48, g.uniform(2, 46))))
        at = g.uniform(0.3, 0.95) * r
        z = g.choice((h, g.uniform(0.2, 0.9) * h))
        hole = sphere(g.uniform(0.004, 0.009), 20)
        wedge = wedge - hole.translate((at * np.cos(angle), at * np.sin(angle), z))
    return [(wedge, "fruit")]


@kind("egg", colours=("white", "brown"), natural=True)
def egg(g: Rng) -> Parts:
    r = g.uniform(0.02, 0.023)

    def pointed(v: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        return np.column_stack([v[:, :2] * (1 - 0.14 * v[:, 2:] / r), v[:, 2] * 1.3])

    return [(lying(sphere(r, 40).warp_batch(pointed), r), "main")]


@kind("mushroom", colours=("white", "brown", "red"), natural=True, symmetric=True)
def mushroom(g: Rng) -> Parts:
    r = g.uniform(0.024, 0.034)
    stem = lathe([(r * 0.42, 0), (r * 0.34, r * 0.4), (r * 0.36, r * 0.9)], 4)
    cap = lathe(
        [
            (r * 0.35, r * 0.78),
            (r * 0.9, r * 0.72),
            (r, r * 0.9),
            (r * 0.8, r * 1.4),
            (r * 0.35, r * 1.7),
            (0, r * 1.74),
        ],
        5,
    )
    return [(stem, "white"), (cap, "main")]


@kind("tomato", colours=("red", "green", "orange"), natural=True)
def tomato(g: Rng) -> Parts:
    r = g.uniform(0.03, 0.036)

    def lobed(v: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        lobes = np.cos(5 * np.arctan2(v[:, 1], v[:, 0])) * (1 - (v[:, 2] / r) ** 2)
        return v * (1 + 0.03 * lobes)[:, None] * [1, 1, 0.82]

    leaves = several(
        sweep(
            [
                (0, 0, r * 0.8),
                (x * r * 0.25, y * r * 0.25, r * 0.84),
                (x * r * 0.5, y * r * 0.5, r * 0.78),
            ],
            [0.003, 0.0026, 0.0005],
            6,
        )
        for x, y in arc(1.0, 0, 288, 5)
    )
    return [(sphere(r, 48).warp_batch(lobed), "fruit"), (leaves, "green")]
