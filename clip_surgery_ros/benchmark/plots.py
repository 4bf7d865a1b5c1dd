"""Pictures of a benchmark: the stages of a frame, and curves of growing work."""

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
"""For each series the names of both axes, which are logarithmic."""
STAGE_COLOURS = {
    "clip": "#0072b2",
    "maps": "#56b4e9",
    "points": "#009e73",
    "sam encoder": "#d55e00",
    "sam decoder": "#e69f00",
    "masks": "#cc79a7",
    "text": "#999999",
}
"""Colours of Okabe and Ito, which people with any colour vision can tell apart."""


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the pictures for which there are rows, as PNG.

    :return: the files written.
    """
    drawn = []
    if any(row.series == "stages" for row in rows):
        drawn.append(_save(stages(rows), folder / "stages.png"))
    if any(row.series in CURVES for row in rows):
        drawn.append(_save(curves(rows), folder / "curves.png"))
    return drawn


def stages(rows: Sequence[Row]) -> Figure:
    """Draw one stacked bar per variant of a frame."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes: Axes = figure.subplots()
    shown = [row for row in rows if row.series == "stages"][::-1]
    for index, row in enumerate(shown):
        left = 0.0
        for stage, seconds in row.seconds.items():
            axes.barh(index, seconds, left=left, color=STAGE_COLOURS[stage], height=0.6)
            left += seconds
        axes.text(left, index, f"  {left:.2f} s", va="center")
    axes.set_yticks(range(len(shown)), [row.what.removeprefix("a frame, ") for row in shown])
    axes.set_xlabel("seconds of a frame with five labels")
    axes.margins(x=0.1)
    stage_names = [name for name in STAGE_COLOURS if any(name in row.seconds for row in shown)]
    handles = [axes.barh(0, 0, color=STAGE_COLOURS[name]) for name in stage_names]
    axes.legend(
        handles,
        stage_names,
        ncols=len(stage_names),
        loc="upper center",
        bbox_to_anchor=(0.45, 1.25),
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(rows: Sequence[Row]) -> Figure:
    """Draw a panel per series and a line per variant."""
    present = [name for name in CURVES if any(row.series == name for row in rows)]
    figure = Figure(figsize=(4 * len(present), 3.2), layout="constrained")
    for axes, name in zip(
        figure.subplots(1, len(present), squeeze=False)[0], present, strict=True
    ):
        shown = [row for row in rows if row.series == name]
        for variant in shown[0].seconds:
            points = [(row.x, row.seconds[variant]) for row in shown if variant in row.seconds]
            axes.plot(*zip(*points, strict=True), marker="o", label=variant)
        axes.set(xscale="log", yscale="log", xlabel=CURVES[name][0], ylabel=CURVES[name][1])
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path
