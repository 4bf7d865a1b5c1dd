"""Objects of a kitchen: vessels, cutlery, a pan, a tray. Lengths in metres."""

# Longer than 400 lines: because it is a table.

from __future__ import annotations

import numpy as np

from clip_surgery_ros.world.catalogue import Parts, Rng, Solid, kind
from clip_surgery_ros.world.shapes import (
    box,
    circle,
    cylinder,
    hull,
    lathe,
    lying,
    polygon,
    rounded,
    rounded_rectangle,
    several,
    smooth_curve,
    sphere,
    sweep,
    vessel,
)


@kind("mug", lies=True, holds=True)
def mug(g: Rng) -> Parts:
    r, h, flare = g.uniform(0.036, 0.045), g.uniform(0.08, 0.11), g.uniform(1.0, 1.12)
    body = vessel([(r * 0.93, 0), (r, 0.006), (r * flare, h)], 0.0035)
    reach = g.uniform(0.38, 0.46) * h
    handle = smooth_curve(
        [
            (r * 0.97, 0, h * 0.80),
            (r + reach * 0.75, 0, h * 0.84),
            (r + reach, 0, h * 0.55),
            (r + reach * 0.65, 0, h * 0.26),
            (r * 0.96, 0, h * 0.2),
        ]
    )
    return [(body, "main"), (sweep(handle, 0.0052, 12, flat=1.4), "main")]


@kind("teacup")
def teacup(g: Rng) -> Parts:
    r, h = g.uniform(0.04, 0.048), g.uniform(0.05, 0.06)
    body = vessel(
        [(0.018, 0), (0.02, 0.006), (0.033, 0.018), (r, h * 0.7), (r * 1.08, h)], 0.0022, 5
    )
    handle = smooth_curve(
        [
            (r * 0.98, 0, h * 0.78),
            (r + 0.02, 0, h * 0.85),
            (r + 0.021, 0, h * 0.5),
            (r * 0.8, 0, h * 0.3),
        ]
    )
    saucer = vessel([(0.03, 0), (0.035, 0.003), (0.062, 0.008), (0.078, 0.016)], 0.0024, 4)
    up = (0, 0, 0.0026)
    cup = [(body.translate(up), "main"), (sweep(handle, 0.003, 10).translate(up), "main")]
    return [*cup, (saucer, "main")]


@kind("bowl", lies=True, holds=True, symmetric=True)
def bowl(g: Rng) -> Parts:
    r, h = g.uniform(0.065, 0.09), g.uniform(0.05, 0.07)
    profile = [
        (r * 0.42, 0),
        (r * 0.45, 0.006),
        (r * 0.75, h * 0.35),
        (r * 0.95, h * 0.75),
        (r, h),
    ]
    return [(vessel(profile, 0.0032, 5), "main")]


@kind("plate", leans=True, holds=True, symmetric=True)
def plate(g: Rng) -> Parts:
    r = g.uniform(0.095, 0.13)
    profile = [
        (r * 0.55, 0),
        (r * 0.6, 0.003),
        (r * 0.7, 0.008),
        (r * 0.95, 0.018),
        (r, 0.021),
    ]
    return [(vessel(profile, 0.0035, 4), "main")]


@kind("bottle", lies=True, symmetric=True)
def bottle(g: Rng) -> Parts:
    r, h = g.uniform(0.03, 0.038), g.uniform(0.2, 0.27)
    profile = [
        (r * 0.9, 0),
        (r, 0.008),
        (r, h * 0.3),
        (r, h * 0.58),
        (r * 0.85, h * 0.68),
        (0.014, h * 0.82),
        (0.0125, h * 0.93),
        (0.0125, h * 0.95),
    ]
    cap = cylinder(h * 0.07, 0.0145).translate((0, 0, h * 0.93))
    label = lathe([(r * 1.012, h * 0.26), (r * 1.012, h * 0.46)])
    return [(lathe(profile, 5), "main"), (cap, "cap"), (label, "label")]


@kind("can", lies=True, symmetric=True, carries=True)
def can(g: Rng) -> Parts:
    r, h = g.uniform(0.03, 0.036), g.uniform(0.1, 0.125)
    body = lathe([(r * 0.8, 0), (r, 0.008), (r, h - 0.01), (r * 0.86, h)])
    print_ = lathe(
        [(r * 0.9, 0.004), (r * 1.003, 0.01), (r * 1.003, h - 0.01), (r * 0.9, h - 0.004)]
    )
    rim = lathe(
        [
            (r * 0.86, h - 0.001),
            (r * 0.88, h + 0.002),
            (r * 0.82, h + 0.002),
            (r * 0.8, h - 0.003),
        ]
    )
    rim = rim - cylinder(0.02, r * 0.8).translate((0, 0, h - 0.0025))
    tab = (
        rounded_rectangle(0.012, 0.022, 0.005) - circle(0.0035, 16).translate((0, 0.005))
    ).extrude(0.0012)
    return [
        (print_, "main"),
        (body, "steel"),
        (rim, "steel"),
        (tab.translate((0, 0.004, h - 0.0005)), "steel"),
    ]


@kind("jar", lies=True, symmetric=True, carries=True)
def jar(g: Rng) -> Parts:
    r, h = g.uniform(0.036, 0.046), g.uniform(0.09, 0.12)
    body = lathe(
        [(r * 0.88, 0), (r, 0.01), (r, h * 0.75), (r * 0.86, h * 0.86), (r * 0.86, h * 0.9)], 4
    )
    lid = cylinder(h * 0.13, r * 0.9).translate((0, 0, h * 0.87))
    label = lathe([(r * 1.015, h * 0.32), (r * 1.015, h * 0.58)])
    return [(body, "main"), (lid, "main"), (label, "label")]


@kind("vase", lies=True, symmetric=True)
def vase(g: Rng) -> Parts:
    h = g.uniform(0.17, 0.24)
    r = h * g.uniform(0.24, 0.32)
    profile = [
        (r * 0.55, 0),
        (r * 0.6, 0.006),
        (r, h * 0.32),
        (r * 0.8, h * 0.6),
        (r * 0.38, h * 0.84),
        (r * 0.55, h),
    ]
    return [(vessel(profile, 0.004, 6), "main")]


@kind("bucket", holds=True)
def bucket(g: Rng) -> Parts:
    r, h = g.uniform(0.075, 0.09), g.uniform(0.13, 0.16)
    body = vessel([(r * 0.74, 0), (r * 0.76, 0.004), (r, h)], 0.0028)
    ring = lathe(
        [(r, h - 0.012), (r * 1.045, h - 0.01), (r * 1.045, h - 0.001), (r, h)]
    ) - cylinder(h, r * 0.985).translate((0, 0, h * 0.5))
    angle, tilt = np.linspace(0, np.pi, 24), g.choice((-1, 1)) * g.uniform(1.25, 1.45)
    swing = np.sin(angle) * r * 1.04
    loop = np.column_stack(
        [r * 1.04 * np.cos(angle), swing * np.sin(tilt), h - 0.008 + swing * np.cos(tilt)]
    )
    return [(body, "main"), (ring, "main"), (sweep(loop, 0.0022, 8), "steel")]


@kind("teapot")
def teapot(g: Rng) -> Parts:
    r, h = g.uniform(0.055, 0.066), g.uniform(0.09, 0.105)
    body = lathe(
        [(r * 0.6, 0), (r * 0.7, 0.004), (r, h * 0.4), (r * 0.85, h * 0.8), (r * 0.5, h)], 6
    )
    lid = lathe(
        [
            (r * 0.55, h * 0.985),
            (r * 0.4, h * 1.06),
            (0.006, h * 1.1),
            (0.005, h * 1.12),
            (0.010, h * 1.17),
            (0.006, h * 1.22),
            (0.0, h * 1.225),
        ],
        5,
    )
    spout = smooth_curve(
        [
            (r * 0.75, 0, h * 0.35),
            (r * 1.2, 0, h * 0.45),
            (r * 1.35, 0, h * 0.75),
            (r * 1.65, 0, h * 0.95),
        ]
    )
    handle = smooth_curve(
        [
            (-r * 0.75, 0, h * 0.85),
            (-r * 1.35, 0, h * 0.95),
            (-r * 1.55, 0, h * 0.6),
            (-r * 1.2, 0, h * 0.3),
            (-r * 0.85, 0, h * 0.28),
        ]
    )
    return [
        (body, "main"),
        (lid, "main"),
        (sweep(spout, np.linspace(0.015, 0.0065, len(spout))), "main"),
        (sweep(handle, 0.006, 12), "main"),
    ]


@kind("wine glass", lies=True, symmetric=True)
def wine_glass(g: Rng) -> Parts:
    h, r = g.uniform(0.16, 0.2), g.uniform(0.034, 0.04)
    cup = vessel(
        [
            (0.006, h * 0.45),
            (r * 0.75, h * 0.52),
            (r, h * 0.68),
            (r * 0.92, h * 0.85),
            (r * 0.8, h),
        ],
        0.0018,
        6,
    )
    foot = lathe(
        [
            (0.033, 0),
            (0.033, 0.002),
            (0.012, 0.006),
            (0.0042, 0.02),
            (0.004, h * 0.38),
            (0.008, h * 0.46),
        ],
        5,
    )
    return [(cup, "main"), (foot, "main")]


@kind("frying pan", holds=True)
def frying_pan(g: Rng) -> Parts:
    r = g.uniform(0.085, 0.11)
    body = vessel([(r * 0.8, 0), (r * 0.83, 0.003), (r, 0.036)], 0.003)
    handle = smooth_curve(
        [(r * 0.93, 0, 0.026), (r * 1.2, 0, 0.038), (r * 1.7, 0, 0.05), (r * 2.3, 0, 0.05)], 5
    )
    return [(body, "main"), (sweep(handle, 0.0085, 12, flat=0.65), "black")]


@kind("funnel", lies=True, symmetric=True)
def funnel(g: Rng) -> Parts:
    r = g.uniform(0.045, 0.06)
    outside = lathe([(r, 0), (r, 0.004), (0.009, 0.06), (0.007, 0.12)])
    inside = lathe([(r * 0.95, -0.001), (r * 0.95, 0.003), (0.0065, 0.06), (0.0055, 0.13)])
    return [(outside - inside, "main")]


@kind("tray", holds=True)
def tray(g: Rng) -> Parts:
    x, y, z = g.uniform(0.24, 0.3), g.uniform(0.16, 0.2), g.uniform(0.02, 0.03)
    outside = rounded_rectangle(x, y, 0.02)
    body = outside.extrude(z) - rounded(outside, -0.005).extrude(z).translate((0, 0, 0.004))
    return [(body, "main")]


@kind("cutting board", colours=(), leans=True, carries=True)
def cutting_board(g: Rng) -> Parts:
    x, y, z = g.uniform(0.24, 0.3), g.uniform(0.16, 0.2), g.uniform(0.014, 0.02)
    hole = circle(0.009, 24).translate((x / 2 - 0.022, 0))
    return [((rounded_rectangle(x, y, 0.015) - hole).extrude(z), "wood")]


@kind("rolling pin", colours=())
def rolling_pin(g: Rng) -> Parts:
    length, r = g.uniform(0.2, 0.26), g.uniform(0.02, 0.026)
    body = lathe([(r * 0.9, 0), (r, 0.004), (r, length - 0.004), (r * 0.9, length)])
    grip = lathe(
        [(0.006, 0), (0.009, 0.015), (0.012, 0.035), (0.010, 0.055), (0.004, 0.062)], 4, 24
    )
    ends = [grip.translate((0, 0, length)), grip.rotate((180, 0, 0))]
    return [(lying(solid, r), "wood") for solid in (body, *ends)]


def _handle(length: float) -> Solid:
    """Return the handle that spoon and fork share, along x."""
    curve = smooth_curve(
        [
            (0, 0, 0.003),
            (length * 0.2, 0, 0.003),
            (length * 0.45, 0, 0.006),
            (length * 0.62, 0, 0.0085),
            (length * 0.72, 0, 0.005),
        ],
        5,
    )
    width = np.interp(
        np.linspace(0, 1, len(curve)),
        [0, 0.05, 0.3, 0.75, 1],
        [0.003, 0.0095, 0.007, 0.0032, 0.0032],
    )
    return sweep(curve, width, 14, flat=0.26)


@kind("spoon")
def spoon(g: Rng) -> Parts:
    length = g.uniform(0.16, 0.2)
    outside = sphere(1, 40).scale((length * 0.17, length * 0.1, 0.011))
    inside = sphere(1, 40).scale((length * 0.16, length * 0.092, 0.0098)).translate((0, 0, 0.0012))
    bowl_ = (outside - inside) ^ box(1, 1, 1).translate((0, 0, -0.4985))
    return [(_handle(length), "main"), (bowl_.translate((length * 0.86, 0, 0.0105)), "main")]


@kind("fork")
def fork(g: Rng) -> Parts:
    length = g.uniform(0.16, 0.2)
    w = length * 0.125
    outline = polygon(
        [
            (length * 0.68, -0.002),
            (length * 0.74, -w * 0.45),
            (length * 0.8, -w * 0.5),
            (length, -w * 0.5),
            (length, w * 0.5),
            (length * 0.8, w * 0.5),
            (length * 0.74, w * 0.45),
            (length * 0.68, 0.002),
        ]
    )
    for y in (-w * 0.25, 0, w * 0.25):
        gap = rounded_rectangle(length * 0.2, w * 0.12, w * 0.055)
        outline = outline - gap.translate((length * 0.95, y))

    def curved(v: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        wave = np.sin((v[:, 0] - length * 0.68) / (length * 0.32) * 2.6 + 0.3)
        return np.column_stack([v[:, 0], v[:, 1], v[:, 2] + 0.010 - 0.008 * wave])

    head = outline.extrude(0.002, 1).refine(3).warp_batch(curved)
    return [(_handle(length), "main"), (head, "main")]


@kind("knife", colours=())
def knife(g: Rng) -> Parts:
    length = g.uniform(0.2, 0.28)
    blade = polygon(
        [
            (length * 0.42, -0.002),
            (length * 0.42, 0.022),
            (length * 0.8, 0.021),
            (length * 0.95, 0.012),
            (length, 0),
            (length * 0.97, -0.001),
        ]
    ).extrude(0.0018)
    grip = hull(
        [
            rounded_rectangle(0.02, 0.018, 0.004).extrude(0.012).translate((0.01, 0.01, 0)),
            rounded_rectangle(0.02, 0.014, 0.004)
            .extrude(0.012)
            .translate((length * 0.4, 0.011, 0)),
        ]
    )
    rivets = several(
        cylinder(0.0135, 0.0028, 14).translate((x * length, 0.0105, -0.0007))
        for x in (0.1, 0.22, 0.34)
    )
    material = str(g.choice(("black", "wood")))
    return [(blade.translate((0, 0, 0.0055)), "steel"), (grip, material), (rivets, "steel")]


@kind("spatula")
def spatula(g: Rng) -> Parts:
    length = g.uniform(0.24, 0.3)
    blade = rounded_rectangle(length * 0.3, length * 0.22, 0.008)
    for y in (-1, 0, 1):
        slot = rounded_rectangle(length * 0.2, length * 0.022, length * 0.01)
        blade = blade - slot.translate((length * 0.01, y * length * 0.055))
    neck = sweep(
        smooth_curve(
            [(length * 0.4, 0, 0.012), (length * 0.6, 0, 0.016), (length * 0.72, 0, 0.006)], 5
        ),
        0.003,
        10,
    )
    curve = smooth_curve([(0, 0, 0.008), (length * 0.2, 0, 0.009), (length * 0.42, 0, 0.012)], 5)
    width = [*np.linspace(0.006, 0.0085, 6), *np.linspace(0.0085, 0.0055, 5)]
    grip = sweep(curve, width, 14, flat=0.7)
    return [
        (blade.extrude(0.002).translate((length * 0.85, 0, 0.003)), "main"),
        (neck, "steel"),
        (grip, "main"),
    ]
