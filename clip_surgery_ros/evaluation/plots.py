"""Figures of reports and of proposed thresholds, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_surgery_ros.evaluation.calibration import Proposal, Similarities
from clip_surgery_ros.evaluation.metrics import Bin
from clip_surgery_ros.evaluation.report import Report

COLOURS = ("#999999", "#0072b2", "#d55e00", "#009e73")
"""Colours of variants, the baseline's is grey: from Okabe and Ito's palette, which people with any
colour vision can tell apart."""
SHOWN_METRICS = ("mean IoU per label", "instance recall")
"""The two metrics that people look for first."""
MAX_HISTOGRAMS = 12
"""Largest number of labels with a histogram: more cannot be read on one page."""
GROUP_COLOURS = {"present": "tab:green", "absent": "tab:red", "unknown": "tab:gray"}
"""Colours of the fields of :class:`Similarities`."""


def metrics_figure(report: Report) -> Figure:
    """Draw :data:`SHOWN_METRICS` as bars, per set and variant."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(len(SHOWN_METRICS), 1)
    for axes, metric in zip(grid, SHOWN_METRICS, strict=True):
        _draw_bars(axes, report, metric)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _draw_bars(axes: Axes, report: Report, metric: str) -> None:
    baseline = report.variants[0]
    estimates = {
        name: set_report.metrics[metric]
        for name, set_report in report.sets.items()
        if not math.isnan(set_report.metrics[metric][baseline].value)
    }
    width = 0.8 / len(report.variants)
    for position, variant in enumerate(report.variants):
        values = [by_variant[variant] for by_variant in estimates.values()]
        axes.bar(
            [index + (position + 0.5) * width - 0.4 for index in range(len(estimates))],
            [estimate.value for estimate in values],
            width,
            yerr=[
                [estimate.value - estimate.low for estimate in values],
                [estimate.high - estimate.value for estimate in values],
            ],
            capsize=2,
            color=COLOURS[position % len(COLOURS)],
            label=variant,
        )
    axes.set_xticks(range(len(estimates)), list(estimates))
    axes.set_ylim(0, 1)
    axes.set_ylabel(metric)
    axes.grid(axis="y", alpha=0.3)


def reliability_figure(report: Report) -> Figure:
    """Draw how often predictions come true; a point on the diagonal is well calibrated."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, report.score_reliability)
    left.set(xlabel="score", ylabel="fraction of segments that are an object (IoU 0.5)")
    _draw_reliability(right, report.presence_reliability)
    right.set(xlabel="presence", ylabel="fraction of labels that are in the picture")
    return figure


def _draw_reliability(axes: Axes, bins_by_variant: Mapping[str, Sequence[Bin]]) -> None:
    for index, (variant, bins) in enumerate(bins_by_variant.items()):
        colour = COLOURS[index % len(COLOURS)]
        predicted = [each.mean_predicted for each in bins]
        true = [each.fraction_true for each in bins]
        axes.plot(predicted, true, color=colour, alpha=0.6)
        sizes = [6 + 4 * math.sqrt(each.count) for each in bins]
        axes.scatter(predicted, true, s=sizes, color=colour, label=variant)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)


def histograms_figure(
    similarities: Mapping[str, Similarities], proposals: Mapping[str, Proposal | None]
) -> Figure:
    """Draw a histogram per name, at most :data:`MAX_HISTOGRAMS`, and its threshold as a line."""
    names = list(proposals)[:MAX_HISTOGRAMS]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns + 1, 2.8 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(grid, names, strict=False):
        _draw_histogram(axes, name, similarities[name], proposals[name])
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("highest raw similarity in a picture")
    return figure


def _draw_histogram(
    axes: Axes, name: str, similarities: Similarities, proposal: Proposal | None
) -> None:
    bins = np.linspace(min(similarities.values), max(similarities.values) + 1e-6, 41)
    for group, colour in GROUP_COLOURS.items():
        values = getattr(similarities, group)
        if values:
            label = f"{group} ({len(values)})"
            axes.hist(values, bins.tolist(), color=colour, alpha=0.5, label=label)
    if proposal is not None:
        label = f"threshold {proposal.threshold:.4f}"
        axes.axvline(proposal.threshold, color="black", linestyle="--", label=label)
    axes.set(title=name, ylabel="pictures")
    axes.legend(fontsize="small")
