"""Objects of an office: books, pens, a phone, a keyboard. Lengths in metres."""

from __future__ import annotations

from clip_surgery_ros.world.catalogue import Parts, Rng, kind
from clip_surgery_ros.world.shapes import (
    bend,
    box,
    circle,
    cylinder,
    half_space_above,
    lathe,
    lying,
    moved,
    rounded_box,
    rounded_rectangle,
    several,
    smooth_curve,
    sphere,
    sweep,
    vessel,
)


@kind("book", leans=True, carries=True)
def book(g: Rng) -> Parts:
    x, y, z = g.uniform(0.13, 0.16), g.uniform(0.19, 0.23), g.uniform(0.018, 0.035)
    t = 0.0025
    inside = box(x, y + 1, z - 2 * t).translate((t * 2, 0, 0))
    pages = box(x - t * 3, y - 0.008, z - 2 * t).translate((-t / 2, 0, 0))
    return [(box(x, y, z) - inside, "cover"), (pages, "paper")]


@kind("pen")
def pen(g: Rng) -> Parts:
    length, r = g.uniform(0.135, 0.15), g.uniform(0.0055, 0.0068)
    body = lathe([(0.0009, 0), (r * 0.55, 0.012), (r, 0.022), (r, length * 0.62)])
    cap = lathe([(r * 1.12, length * 0.6), (r * 1.12, length * 0.97), (r * 0.8, length)])
    clip = box(0.0018, 0.0035, length * 0.24).translate((r * 1.25, 0, length * 0.82))
    parts = [(body, "main"), (cap, "main"), (clip.rotate((0, 0, 90)), "steel")]
    return [(lying(solid, r * 1.12), material) for solid, material in parts]


@kind("pencil")
def pencil(g: Rng) -> Parts:
    length, r = g.uniform(0.15, 0.18), 0.0046
    end = length * 0.86
    ferrule = cylinder(0.012, r * 0.98, 18).translate((0, 0, -0.01))
    eraser = cylinder(0.008, r * 0.92, 18).translate((0, 0, -0.017))
    parts = [
        (circle(r, 6).extrude(end), "main"),
        (lathe([(r * 0.98, end - 0.001), (0.0011, length * 0.975)]), "wood"),
        (lathe([(0.0011, length * 0.975), (0.0002, length)]), "black"),
        (ferrule, "brass"),
        (eraser, "pink"),
    ]
    return [(lying(solid.rotate((0, 0, 30)), r), material) for solid, material in parts]


@kind("phone", colours=(), leans=True)
def phone(g: Rng) -> Parts:
    x, y, t = g.uniform(0.068, 0.076), g.uniform(0.14, 0.16), 0.0085
    body = rounded_rectangle(x, y, 0.009).extrude(t)
    screen = rounded_rectangle(x * 0.92, y * 0.95, 0.006).extrude(0.0006)
    slot = rounded_rectangle(0.012, 0.0025, 0.001).extrude(0.0008)
    return [
        (body, str(g.choice(("black", "white", "steel")))),
        (screen.translate((0, 0, t - 0.0002)), "screen"),
        (slot.translate((0, y * 0.44, t)), "black"),
    ]


@kind("keyboard", colours=())
def keyboard(g: Rng) -> Parts:
    x, y = g.uniform(0.3, 0.38), g.uniform(0.105, 0.125)
    rows, columns = 5, 15
    pitch_x, pitch_y = x * 0.94 / columns, y * 0.86 / rows
    key = rounded_box(pitch_x * 0.86, pitch_y * 0.84, 0.005, 0.0015, 6)
    keys = [
        key.translate(((c + 0.5) * pitch_x - x * 0.47, (r + 0.5) * pitch_y - y * 0.43, 0.012))
        for r in range(rows)
        for c in range(columns)
        if not (r == 0 and 4 <= c <= 9)
    ]
    space = rounded_box(pitch_x * 5.8, pitch_y * 0.84, 0.005, 0.0015, 6)
    keys.append(space.translate((7 * pitch_x - x * 0.47, 0.5 * pitch_y - y * 0.43, 0.012)))
    base, caps = (("black", "keys"), ("white", "white"), ("steel", "keys"))[int(g.integers(3))]
    return [(rounded_box(x, y, 0.014, 0.004), base), (several(keys), caps)]


@kind("computer mouse")
def computer_mouse(g: Rng) -> Parts:
    x, y, z = g.uniform(0.03, 0.034), g.uniform(0.054, 0.06), g.uniform(0.033, 0.038)
    body = sphere(1, 48).scale((x, y, z)) ^ half_space_above()
    wheel = cylinder(0.006, 0.009, 24).rotate((0, 90, 0)).translate((-0.003, -0.03, z * 0.67))
    shell = sphere(1, 48).scale((x + 0.0003, y + 0.0003, z + 0.0003)) ^ half_space_above()
    seam = box(0.0012, 0.05, 0.1).translate((0, -0.034, 0.012)) ^ shell
    return [(body, "main"), (wheel, "black"), (seam, "black")]


@kind("remote control")
def remote_control(g: Rng) -> Parts:
    x, y, t = g.uniform(0.042, 0.05), g.uniform(0.16, 0.19), 0.016
    button = cylinder(0.003, 0.0042, 16)
    buttons = several(
        button.translate((i * 0.0125, y * 0.08 - j * 0.0125, t - 0.001))
        for i in (-1, 0, 1)
        for j in range(5)
    )
    pad = cylinder(0.002, 0.0125, 32).translate((0, y * 0.24, t - 0.001))
    power = cylinder(0.003, 0.005, 18).translate((-x * 0.28, y * 0.42, t - 0.001))
    return [
        (rounded_box(x, y, t, 0.006), "main"),
        (buttons, "contrast"),
        (pad, "contrast"),
        (power, "contrast"),
    ]


@kind("stapler")
def stapler(g: Rng) -> Parts:
    length = g.uniform(0.12, 0.15)
    top = bend(rounded_box(length, 0.026, 0.016, 0.006), -0.9)
    magazine = box(length * 0.92, 0.016, 0.014).rotate((0, -6, 0))
    return [
        (rounded_box(length * 1.02, 0.032, 0.008, 0.003), "main"),
        (top.rotate((0, -6, 0)).translate((0, 0, 0.022)), "main"),
        (magazine.translate((0, 0, 0.0185)), "steel"),
    ]


@kind("clock")
def clock(g: Rng) -> Parts:
    r, t = g.uniform(0.045, 0.06), 0.028
    case = lathe([(r, 0), (r, t), (r * 0.92, t + 0.004), (r * 0.8, t)])
    case = case - cylinder(0.01, r * 0.8).translate((0, 0, t - 0.002))
    tick = box(0.0022, r * 0.14, 0.0012).translate((0, r * 0.68, t - 0.0015))
    ticks = several(tick.rotate((0, 0, a)) for a in range(0, 360, 30))
    hour = box(0.004, r * 0.46, 0.0012).translate((0, r * 0.18, t - 0.0002))
    minute = box(0.0028, r * 0.66, 0.0012).translate((0, r * 0.26, t + 0.0011))
    hands = several(hand.rotate((0, 0, g.uniform(0, 360))) for hand in (hour, minute))
    face = cylinder(0.001, r * 0.8).translate((0, 0, t - 0.0026))
    dial = [(case, "main"), (face, "white"), (ticks, "black"), (hands, "black")]
    foot = sphere(r * 0.13, 20)
    feet = several(foot.translate((s * r * 0.55, 0, r * 0.13)) for s in (-1, 1))
    back = sphere(r * 0.13, 20).translate((0, t * 0.9, r * 0.13))
    stand = [(feet, "main"), (back, "main")]
    return [*moved(dial, (78, 0, 0), (0, t * 0.5, r * 0.98 + 0.004)), *stand]


@kind("lamp")
def lamp(g: Rng) -> Parts:
    r, h = g.uniform(0.05, 0.065), g.uniform(0.2, 0.26)
    arm = smooth_curve(
        [(0, 0, 0.01), (-0.02, 0, h * 0.5), (0.02, 0, h * 0.92), (0.085, 0, h * 0.95)], 7
    )
    shade = vessel([(0.014, 0), (0.018, 0.01), (0.028, 0.022), (0.05, 0.062)], 0.002, 4)
    base = lathe([(r, 0), (r, 0.006), (r * 0.5, 0.015), (0.008, 0.018)], 4)
    return [
        (base, "main"),
        (sweep(arm, 0.005, 12), "steel"),
        (shade.rotate((0, 155, 0)).translate((0.085, 0, h * 0.95 + 0.012)), "main"),
        (sphere(0.017, 28).translate((0.1, 0, h * 0.95 - 0.028)), "glow"),
    ]
