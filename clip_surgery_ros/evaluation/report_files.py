"""Write a report as Markdown tables, as JSON and as figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clip_surgery_ros.evaluation import plots
from clip_surgery_ros.evaluation.metrics import OBJECT_METRICS, Bin, Estimate, calibration_error
from clip_surgery_ros.evaluation.report import Report, SetReport, SizeReport
from clip_surgery_ros.evaluation.tables import header, row, write_tables

SUMMARY = {
    "mean IoU per label": "IoU per label",
    "instance recall": "objects found",
    "instance precision": "precision",
    "present labels found": "labels found",
    "first segment right": "first correct",
    "false alarms per absent label": "false alarms",
}
"""Metrics of the table of all sets, and what it calls them."""


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``evaluation.json``, ``evaluation.md`` and the figures.

    :returns: the files written.
    """
    files = write_tables(folder, "evaluation", _json_values(report), markdown(report))
    figures = {
        "recipes.png": plots.metrics_figure(report),
        "reliability.png": plots.reliability_figure(report),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=120)
    return [*files, *(folder / name for name in figures)]


def markdown(report: Report) -> str:
    """Return the tables of the report in Markdown."""
    tables = (_summary_rows, _size_rows, _metric_rows, _reliability_rows)
    return "\n\n".join("\n".join(rows(report)) for rows in tables)


def _summary_rows(report: Report) -> Iterator[str]:
    """Yield the table of the last variant, with a row for each set."""
    variant = report.variants[-1]
    yield from header([f"{variant}: set", "pictures", *SUMMARY.values()])
    for name, set_report in report.sets.items():
        values = [set_report.metrics[metric][variant].value for metric in SUMMARY]
        yield row([name, str(set_report.pictures), *map(_cell, values)])


def _size_rows(report: Report) -> Iterator[str]:
    """Yield the table of sizes, in percent of the picture's shorter side."""
    metrics = [(metric, variant) for metric in OBJECT_METRICS for variant in report.variants]
    heads = [f"{metric}, {variant}" for metric, variant in metrics]
    yield from header(["size of object", "objects", *heads])
    for size in report.sizes:
        bounds = f"{size.low:.0%} to {size.high:.0%}"
        if math.isinf(size.high):
            bounds = f"{size.low:.0%} or more"
        values = [size.metrics[metric][variant].value for metric, variant in metrics]
        yield row([bounds, str(size.objects), *map(_cell, values)])


def _cell(value: float) -> str:
    """Return a number, or nothing where there was nothing to count."""
    return "" if math.isnan(value) else f"{value:.3f}"


def _metric_rows(report: Report) -> Iterator[str]:
    baseline, *others = report.variants
    heads = ["set", "pictures", "metric", baseline]
    for variant in others:
        heads += [variant, f"{variant} - {baseline}, 95 %"]
    yield from header(heads)
    for name, set_report in report.sets.items():
        for metric, estimates in set_report.metrics.items():
            if math.isnan(estimates[baseline].value):
                continue
            cells = [name, str(set_report.pictures), metric, f"{estimates[baseline].value:.3f}"]
            for variant in others:
                difference = set_report.differences[metric][variant]
                cells += [f"{estimates[variant].value:.3f}", _interval(difference)]
            yield row(cells)
        areas = set_report.presence_auroc
        if not math.isnan(areas[baseline]):
            cells = [name, str(set_report.pictures), "presence AUROC", f"{areas[baseline]:.3f}"]
            for variant in others:
                cells += [f"{areas[variant]:.3f}", f"{areas[variant] - areas[baseline]:+.3f}"]
            yield row(cells)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _reliability_rows(report: Report) -> Iterator[str]:
    yield from header(["value", "from", "to", "count", "mean", "fraction true"])
    tables = {
        f"{value}, {variant}": bins
        for value, by_variant in _reliability_by_value(report).items()
        for variant, bins in by_variant.items()
    }
    for title, bins in tables.items():
        for each in bins:
            numbers = (each.low, each.high, each.mean_predicted, each.fraction_true)
            low, high, mean, fraction = (f"{number:.2f}" for number in numbers)
            yield row([title, low, high, str(each.count), mean, fraction])
        error = calibration_error(bins)
        yield row([f"{title}: calibration error", "", "", "", "", f"{error:.3f}"])


def _reliability_by_value(report: Report) -> dict[str, Mapping[str, Sequence[Bin]]]:
    return {"score": report.score_reliability, "presence": report.presence_reliability}


def _json_values(report: Report) -> dict[str, Any]:
    """Return the report as JSON has it; readers of the file rely on these keys."""
    values = {
        "recipes": report.variants,
        "sets": {name: _set_values(set_report) for name, set_report in report.sets.items()},
        "sizes": [_size_values(size) for size in report.sizes],
    }
    for value, by_variant in _reliability_by_value(report).items():
        values[f"{value} reliability"] = {
            variant: [_bin_values(each) for each in bins] for variant, bins in by_variant.items()
        }
    return values


def _set_values(report: SetReport) -> dict[str, Any]:
    return {
        "pictures": report.pictures,
        "presence AUROC": report.presence_auroc,
        "figures": _estimate_values(report.metrics),
        "differences": _estimate_values(report.differences),
    }


def _size_values(size: SizeReport) -> dict[str, Any]:
    return {
        "from": size.low,
        "to": None if math.isinf(size.high) else size.high,
        "objects": size.objects,
        "figures": _estimate_values(size.metrics),
    }


def _estimate_values(estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {
        metric: {variant: asdict(estimate) for variant, estimate in by_variant.items()}
        for metric, by_variant in estimates.items()
    }


def _bin_values(each: Bin) -> dict[str, float]:
    return {
        "low": each.low,
        "high": each.high,
        "count": each.count,
        "score": each.mean_predicted,
        "right": each.fraction_true,
    }
