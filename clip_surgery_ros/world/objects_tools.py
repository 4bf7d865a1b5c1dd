"""Tools and parts of a workshop. Lengths in metres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clip_surgery_ros.world.catalogue import Parts, Rng, Solid, kind
from clip_surgery_ros.world.shapes import (
    arc,
    box,
    circle,
    cylinder,
    hull,
    lathe,
    lying,
    polygon,
    rectangle,
    rounded_box,
    rounded_rectangle,
    smooth_curve,
    sweep,
)

if TYPE_CHECKING:
    from manifold3d import CrossSection


@kind("screwdriver")
def screwdriver(g: Rng) -> Parts:
    length, r = g.uniform(0.17, 0.22), g.uniform(0.013, 0.016)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = r * (1 + 0.07 * np.cos(6 * angle))
    flutes = polygon(np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None])
    butt = lathe([(0.004, -0.012), (r * 0.85, -0.006), (r * 0.98, 0)], 3)
    neck = lathe(
        [
            (r * 0.98, length * 0.46),
            (r * 0.7, length * 0.485),
            (r * 0.75, length * 0.5),
            (0.006, length * 0.52),
        ]
    )
    shaft = cylinder(length * 0.45, 0.0032, 14).translate((0, 0, length * 0.5))
    tip = hull(
        [
            box(0.0062, 0.0062, 0.001).translate((0, 0, length * 0.94)),
            box(0.008, 0.001, 0.001).translate((0, 0, length)),
        ]
    )
    grip = flutes.extrude(length * 0.46) + neck
    parts = [(grip, "main"), (butt, "main"), (shaft, "steel"), (tip, "steel")]
    return [(lying(solid, r * 1.07), material) for solid, material in parts]


@kind("hammer", colours=())
def hammer(g: Rng) -> Parts:
    length = g.uniform(0.24, 0.3)
    curve = smooth_curve([(length * x, 0, 0) for x in (0, 0.2, 0.5, 0.8, 1)], 4)
    radius = np.interp(
        np.linspace(0, 1, len(curve)),
        [0, 0.08, 0.3, 0.6, 1],
        [0.012, 0.0145, 0.013, 0.0095, 0.0095],
    )
    half = int(len(curve) * 0.55)
    grip = sweep(curve[:half], radius[:half] * 1.06, 18, flat=0.75)
    face = lathe([(0.012, 0), (0.0135, 0.002), (0.0135, 0.012), (0.010, 0.02), (0.0095, 0.05)])
    claw = polygon(np.vstack([arc(0.075, 0, 38, 12), arc(0.058, 34, 0, 12)])).extrude(0.026)
    slot = hull(
        [
            box(0.03, 0.001, 0.002).translate((0, 0.015, 0)),
            box(0.03, 0.001, 0.009).translate((0, 0.06, 0)),
        ]
    )
    claw = claw.translate((-0.0665, 0, -0.013)) - slot.translate((-0.005, 0, 0))
    head = [
        face.rotate((90, 0, 0)).translate((length * 0.97, 0.052, 0)),
        rounded_box(0.026, 0.034, 0.028, 0.004).translate((length * 0.97, 0, -0.014)),
        claw.rotate((0, 0, 180)).translate((length * 0.97, -0.012, 0)),
    ]
    parts = [(sweep(curve, radius, 18, flat=0.75), "wood"), (grip, "black")]
    return parts + [(solid, "steel") for solid in head]


@kind("wrench")
def wrench(g: Rng) -> Parts:
    length, w, t = g.uniform(0.16, 0.22), 0.012, 0.007
    open_end = (-length / 2, 0)
    ring_end = (length / 2, 0)
    slot = circle(0.0165 * 0.58, 6).rotate(30) + rectangle(0.033, 0.0165).translate((0.0165, 0))
    jaw = (circle(0.0165, 40) - slot).rotate(195).translate(open_end)
    shaft = rectangle(length - 0.02, w) + circle(0.011, 30).translate(ring_end)
    shaft = shaft - circle(0.0165, 40).translate(open_end) + jaw
    outline = shaft + circle(0.0145, 40).translate(ring_end)
    outline = outline - circle(0.0085, 12).translate(ring_end)
    groove = rounded_rectangle(length * 0.55, w * 0.5, w * 0.2).extrude(0.0012)
    return [(outline.extrude(t) - groove.translate((0, 0, t - 0.001)), "main")]


@kind("pliers")
def pliers(g: Rng) -> Parts:
    length, t = g.uniform(0.15, 0.19), 0.009

    def half(s: int) -> Parts:
        curve = smooth_curve(
            [
                (0, 0),
                (-length * 0.2, s * 0.012),
                (-length * 0.45, s * 0.026),
                (-length * 0.68, s * 0.03),
            ]
        )
        curve = np.column_stack([curve, np.full(len(curve), t / 2)])
        grip = sweep(curve, np.linspace(0.0055, 0.0075, len(curve)), 14)
        jaw = polygon(
            [
                (0, -s * 0.010),
                (0.015, s * 0.0005),
                (length * 0.3, s * 0.0005),
                (length * 0.3, s * 0.004),
                (0.018, s * 0.012),
                (0, s * 0.013),
                (-0.016, s * 0.006),
            ]
        )
        return [(grip, "main"), (jaw.extrude(t), "steel")]

    pivot = (-0.001, 0, -0.0005)
    return [
        *half(1),
        *half(-1),
        (cylinder(t + 0.001, 0.0105, 28).translate(pivot), "steel"),
        (cylinder(t + 0.003, 0.004, 20).translate(pivot), "black"),
    ]


@kind("scissors")
def scissors(g: Rng) -> Parts:
    length, angle = g.uniform(0.15, 0.19), g.uniform(6, 16)

    def half(s: int, z: float) -> Parts:
        blade = polygon(
            [
                (0, s * 0.006),
                (length * 0.55, s * 0.0012),
                (length * 0.55, 0),
                (length * 0.1, -s * 0.006),
                (0, -s * 0.008),
                (-0.02, -s * 0.004),
                (-0.02, s * 0.006),
            ]
        ).extrude(0.0022)
        loop = smooth_curve(
            [
                (-0.02, 0),
                (-length * 0.22, -s * 0.012),
                (-length * 0.38, -s * 0.024),
                (-length * 0.44, -s * 0.014),
                (-length * 0.38, s * 0.0),
                (-length * 0.25, -s * 0.001),
            ],
            5,
            True,
        )
        loop = np.column_stack([loop, np.full(len(loop), 0.0052)])
        turn = (0, 0, s * angle)
        return [
            (blade.translate((0, 0, z)).rotate(turn), "steel"),
            (sweep(loop, 0.0052, 12, closed=True).rotate(turn), "main"),
        ]

    screw = cylinder(0.009, 0.004, 20).translate((0, 0, 0.001))
    return [*half(1, 0.004), *half(-1, 0.0064), (screw, "steel")]


@kind("nut", lies=True, carries=True)
def nut(g: Rng) -> Parts:
    r = g.uniform(0.016, 0.024)
    h = r * 0.8
    chamfer = lathe([(r * 0.86, 0), (r * 1.02, h * 0.14), (r * 1.02, h * 0.86), (r * 0.86, h)])
    return [((circle(r, 6) - circle(r * 0.52, 30)).extrude(h) ^ chamfer, "main")]


@kind("bolt", lies=True)
def bolt(g: Rng) -> Parts:
    r, length = g.uniform(0.006, 0.009), g.uniform(0.05, 0.08)
    thread = r * (1 - 0.1 * (np.arange(110) % 4 >= 2))
    shaft = lathe(np.column_stack([thread, np.linspace(0, length, 110)]), segments=24)
    head = circle(r * 2.0, 6).extrude(r * 1.3) ^ lathe(
        [(r * 2.05, 0), (r * 2.05, r), (r * 1.7, r * 1.31)]
    )
    solid = shaft.translate((0, 0, r)) + head.rotate((180, 0, 0)).translate((0, 0, r * 1.3))
    return [(solid.rotate((180, 0, 0)), "main")]


@kind("gear", symmetric=True, carries=True)
def gear(g: Rng) -> Parts:
    r, teeth = g.uniform(0.026, 0.036), int(g.integers(10, 16))
    angle = np.linspace(0, 2 * np.pi, teeth * 8, endpoint=False)
    radius = r * (1 + 0.11 * np.clip(np.sin(teeth * angle) * 2.2, -1, 1))
    area = polygon(np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None])
    area = area - circle(r * 0.24, 28)
    for x, y in arc(r * 0.58, 0, 300, 6):
        area = area - circle(r * 0.15, 20).translate((x, y))
    return [(area.extrude(r * 0.38), "main")]


@kind("flashlight", lies=True)
def flashlight(g: Rng) -> Parts:
    length, r = g.uniform(0.13, 0.17), g.uniform(0.012, 0.015)
    body = lathe(
        [
            (r * 0.9, 0),
            (r, 0.004),
            (r, length * 0.12),
            (r * 0.93, length * 0.13),
            (r * 0.93, length * 0.17),
            (r, length * 0.18),
            (r, length * 0.7),
            (r * 1.6, length * 0.8),
            (r * 1.65, length * 0.97),
            (r * 1.55, length),
        ]
    )
    lens = cylinder(0.0015, r * 1.4).translate((0, 0, length - 0.0005))
    switch = rounded_box(0.008, 0.014, 0.005, 0.002).rotate((0, -90, 0))
    return [
        (body, "main"),
        (lens, "glow"),
        (switch.translate((r * 0.85, 0, length * 0.55)), "black"),
    ]


@kind("battery", lies=True, symmetric=True)
def battery(g: Rng) -> Parts:
    r, h = g.uniform(0.007, 0.013), g.uniform(0.05, 0.06)
    return [
        (cylinder(h * 0.96, r), "main"),
        (cylinder(h * 0.01, r * 0.8).translate((0, 0, h * 0.96)), "brass"),
        (cylinder(h * 0.04, r * 0.4).translate((0, 0, h * 0.97)), "steel"),
    ]


@kind("magnet", carries=True)
def magnet(g: Rng) -> Parts:
    r, w, t = g.uniform(0.024, 0.03), g.uniform(0.011, 0.014), g.uniform(0.012, 0.016)
    upper = rectangle(1, 1).translate((0, 0.5))
    arch = (circle(r, 48) - circle(r - w, 48)) ^ upper

    def legs(low: float, high: float) -> CrossSection:
        leg = rectangle(w, high - low).translate((0, (low + high) / 2))
        return leg.translate((w / 2 - r, 0)) + leg.translate((r - w / 2, 0))

    return [
        ((arch + legs(-0.022, 0)).extrude(t), "main"),
        (legs(-0.033, -0.022).extrude(t), "steel"),
    ]


@kind("key")
def key(g: Rng) -> Parts:
    length = g.uniform(0.05, 0.065)
    bow = circle(0.0115, 36) - circle(0.0035, 18).translate((-0.005, 0))
    blade = rectangle(length, 0.0066).translate((0.008 + length / 2, 0))
    for x in np.arange(0.45, 0.98, 0.11):
        notch = circle(g.uniform(0.0018, 0.0032), 3).rotate(90)
        blade = blade - notch.translate((length * x + 0.006, 0.0037))
    return [((bow + blade).extrude(0.0024), "main")]


@kind("padlock")
def padlock(g: Rng) -> Parts:
    w = g.uniform(0.035, 0.045)
    h = w * 0.85
    angle = np.linspace(0, np.pi, 16)
    bow = np.column_stack([w * 0.3 * np.cos(angle), 0 * angle, h * 1.15 + w * 0.3 * np.sin(angle)])
    loop = np.vstack([[w * 0.3, 0, h * 0.8], bow, [-w * 0.3, 0, h * 0.8]])
    hole = cylinder(0.001, w * 0.07).rotate((90, 0, 0)).translate((0, -w * 0.21, h * 0.4))
    return [
        (rounded_box(w, w * 0.42, h, 0.005), "main"),
        (sweep(loop, w * 0.075, 12), "steel"),
        (hole, "black"),
    ]


@kind("paintbrush", colours=())
def paintbrush(g: Rng) -> Parts:
    length, w = g.uniform(0.18, 0.22), g.uniform(0.03, 0.045)
    curve = smooth_curve([(length * x, 0, 0) for x in (0, 0.15, 0.4, 0.6)], 5)
    radius = np.interp(
        np.linspace(0, 1, len(curve)), [0, 0.15, 0.6, 1], [0.005, 0.008, 0.006, 0.011]
    )

    def section(x: float, thick: float, width: float, corner: float) -> Solid:
        area = rounded_rectangle(thick, width, corner).extrude(0.001)
        return area.rotate((0, 90, 0)).translate((length * x, 0, 0))

    ferrule = hull([section(0.58, 0.010, 0.018, 0.004), section(0.7, 0.012, w, 0.003)])
    bristles = hull([section(0.7, 0.012, w * 0.96, 0.003), section(0.93, 0.004, w, 0.001)])
    return [
        (sweep(curve, radius, 16, flat=0.6), "wood"),
        (ferrule, "steel"),
        (bristles, "bristle"),
    ]
