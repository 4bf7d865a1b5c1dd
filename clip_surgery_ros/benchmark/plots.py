"""Pictures of a benchmark: where a frame's time goes, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_surgery_ros.benchmark.setting import Row

CURVES = {
    "labels": ("labels", "feature surgery [s]"),
    "prompts": ("prompts", "mask decoding [s]"),
    "sizes": ("megapixels of the image", "whole frame [s]"),
}
"""Series to what its axes show; both are logarithmic."""
STAGE_COLOURS = {
    "clip": "#0072b2",
    "maps": "#56b4e9",
    "points": "#009e73",
    "sam encoder": "#d55e00",
    "sam decoder": "#e69f00",
    "masks": "#cc79a7",
    "text": "#999999",
}
"""Okabe and Ito's, which people of every colour vision tell apart."""


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the pictures that these rows allow, as PNG.

    :returns: the files written.
    """
    drawn = []
    if any(row.series == "stages" for row in rows):
        drawn.append(_save(stages(rows), folder / "stages.png"))
    if any(row.series in CURVES for row in rows):
        drawn.append(_save(curves(rows), folder / "curves.png"))
    return drawn


def stages(rows: Sequence[Row]) -> Figure:
    """One stacked bar per way to answer a frame."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes: Axes = figure.subplots()
    shown = [row for row in rows if row.series == "stages"][::-1]
    for place, row in enumerate(shown):
        left = 0.0
        for stage, seconds in row.seconds.items():
            axes.barh(place, seconds, left=left, color=STAGE_COLOURS[stage], height=0.6)
            left += seconds
        axes.text(left, place, f"  {left:.2f} s", va="center")
    axes.set_yticks(range(len(shown)), [row.what.removeprefix("a frame, ") for row in shown])
    axes.set_xlabel("seconds of a frame with five labels")
    axes.margins(x=0.1)
    named = [name for name in STAGE_COLOURS if any(name in row.seconds for row in shown)]
    handles = [axes.barh(0, 0, color=STAGE_COLOURS[name]) for name in named]
    axes.legend(handles, named, ncols=len(named), loc="upper center", bbox_to_anchor=(0.45, 1.25))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(rows: Sequence[Row]) -> Figure:
    """A panel per series, a line per way."""
    present = [name for name in CURVES if any(row.series == name for row in rows)]
    figure = Figure(figsize=(4 * len(present), 3.2), layout="constrained")
    for axes, name in zip(
        figure.subplots(1, len(present), squeeze=False)[0], present, strict=True
    ):
        shown = [row for row in rows if row.series == name]
        for way in shown[0].seconds:
            points = [(row.x, row.seconds[way]) for row in shown if way in row.seconds]
            axes.plot(*zip(*points, strict=True), marker="o", label=way)
        axes.set(xscale="log", yscale="log", xlabel=CURVES[name][0], ylabel=CURVES[name][1])
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path
