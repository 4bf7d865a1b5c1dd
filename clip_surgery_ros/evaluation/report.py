"""Figures of a comparison as a table, as JSON and as pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from clip_surgery_ros.evaluation.comparison import Outcomes
from clip_surgery_ros.evaluation.figures import (
    FIGURES,
    Bin,
    Bootstrap,
    Value,
    calibration_error,
    presence_auroc,
    reliability,
)
from clip_surgery_ros.evaluation.outcome import Outcome

Report = dict[str, Any]
COLOURS = ("#999999", "#0072b2", "#d55e00", "#009e73")
"""Of recipes, the baseline's grey; Okabe and Ito's, which people of every colour vision tell
apart."""
OVERALL = "all sets"


def report_of(sets: Mapping[str, Outcomes]) -> Report:
    """All figures; the first recipe is the baseline of the others.

    :param sets: outcomes by name of the set.
    """
    recipes = list(next(iter(sets.values())))
    together = {
        recipe: [one for outcomes in sets.values() for one in outcomes[recipe]]
        for recipe in recipes
    }
    every = {**sets, OVERALL: together} if len(sets) > 1 else dict(sets)
    return {
        "recipes": recipes,
        "sets": {name: _set(outcomes) for name, outcomes in every.items()},
        "score reliability": {
            recipe: [asdict(one) for one in _score_bins(together[recipe])] for recipe in recipes
        },
        "presence reliability": {
            recipe: [asdict(one) for one in _presence_bins(together[recipe])] for recipe in recipes
        },
    }


def _set(outcomes: Outcomes) -> Report:
    baseline, *others = outcomes
    bootstrap = Bootstrap(len(outcomes[baseline]))
    return {
        "pictures": len(outcomes[baseline]),
        "presence AUROC": {recipe: presence_auroc(outcomes[recipe]) for recipe in outcomes},
        "figures": {
            figure.name: {
                recipe: asdict(bootstrap.share(figure, outcomes[recipe])) for recipe in outcomes
            }
            for figure in FIGURES
        },
        "differences": {
            figure.name: {
                recipe: asdict(bootstrap.difference(figure, outcomes[recipe], outcomes[baseline]))
                for recipe in others
            }
            for figure in FIGURES
        },
    }


def _score_bins(outcomes: Sequence[Outcome]) -> list[Bin]:
    scores = [score for one in outcomes for score in one.scores]
    return reliability(scores, [right for one in outcomes for right in one.right])


def _presence_bins(outcomes: Sequence[Outcome]) -> list[Bin]:
    scores = [score for one in outcomes for score in one.presence]
    return reliability(scores, [there for one in outcomes for there in one.there])


def markdown(report: Report) -> str:
    """Tables of the report."""
    return "\n".join([*_figure_rows(report), "", *_reliability_rows(report)])


def _figure_rows(report: Report) -> Iterator[str]:
    baseline, *others = report["recipes"]
    heads = ["set", "pictures", "figure", baseline]
    for recipe in others:
        heads += [recipe, f"{recipe} - {baseline}, 95 %"]
    yield from _head(heads)
    for name, one in report["sets"].items():
        for figure, values in one["figures"].items():
            if math.isnan(values[baseline]["value"]):
                continue
            cells = [name, str(one["pictures"]), figure, f"{values[baseline]['value']:.3f}"]
            for recipe in others:
                difference = Value(**one["differences"][figure][recipe])
                cells += [f"{values[recipe]['value']:.3f}", _interval(difference)]
            yield _row(cells)
        areas = one["presence AUROC"]
        if not math.isnan(areas[baseline]):
            cells = [name, str(one["pictures"]), "presence AUROC", f"{areas[baseline]:.3f}"]
            for recipe in others:
                cells += [f"{areas[recipe]:.3f}", f"{areas[recipe] - areas[baseline]:+.3f}"]
            yield _row(cells)


def _interval(one: Value) -> str:
    return f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _reliability_rows(report: Report) -> Iterator[str]:
    yield from _head(["what is said", "from", "to", "how many", "mean said", "share right"])
    tables = {
        f"{what}, {name}": bins
        for what in ("score", "presence")
        for name, bins in report[f"{what} reliability"].items()
    }
    for what, bins in tables.items():
        for one in (Bin(**entry) for entry in bins):
            numbers = (one.low, one.high, one.score, one.right)
            low, high, said, right = (f"{number:.2f}" for number in numbers)
            yield _row([what, low, high, str(one.count), said, right])
        error = calibration_error([Bin(**entry) for entry in bins])
        yield _row([f"{what}: calibration error", "", "", "", "", f"{error:.3f}"])


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``evaluation.json``, ``evaluation.md`` and the pictures.

    :returns: the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers, table = folder / "evaluation.json", folder / "evaluation.md"
    # NaN is no JSON: a figure of nothing is null.
    numbers.write_text(json.dumps(_without_nan(report), indent=1, allow_nan=False) + "\n")
    table.write_text(markdown(report) + "\n")
    pictures = {"recipes.png": _recipes(report), "reliability.png": _reliability(report)}
    for name, picture in pictures.items():
        picture.savefig(folder / name, dpi=120)
    return [numbers, table, *(folder / name for name in pictures)]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _recipes(report: Report) -> Picture:
    """Bars per set and recipe of the two figures that people look for first."""
    picture = Picture(figsize=(9, 6), layout="constrained")
    shown = ("mean IoU per label", "instance recall")
    for axes, figure in zip(picture.subplots(len(shown), 1), shown, strict=True):
        _bars(axes, report, figure)
    handles, names = axes.get_legend_handles_labels()
    picture.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return picture


def _bars(axes: Axes, report: Report, figure: str) -> None:
    names = [
        name
        for name, one in report["sets"].items()
        if not math.isnan(one["figures"][figure][report["recipes"][0]]["value"])
    ]
    width = 0.8 / len(report["recipes"])
    for place, recipe in enumerate(report["recipes"]):
        values = [Value(**report["sets"][name]["figures"][figure][recipe]) for name in names]
        axes.bar(
            [index + (place + 0.5) * width - 0.4 for index in range(len(names))],
            [one.value for one in values],
            width,
            yerr=[
                [one.value - one.low for one in values],
                [one.high - one.value for one in values],
            ],
            capsize=2,
            color=COLOURS[place % len(COLOURS)],
            label=recipe,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1)
    axes.set_ylabel(figure)
    axes.grid(axis="y", alpha=0.3)


def _reliability(report: Report) -> Picture:
    """Said against true: points on the diagonal say what is so."""
    picture = Picture(figsize=(9, 4.2), layout="constrained")
    for axes, what, true in zip(
        picture.subplots(1, 2),
        ("score", "presence"),
        ("share of segments that are an object (IoU 0.5)", "share of labels that are there"),
        strict=True,
    ):
        for place, (recipe, bins) in enumerate(report[f"{what} reliability"].items()):
            _curve(axes, bins, recipe, COLOURS[place % len(COLOURS)])
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"{what} published", ylabel=true, xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(loc="upper left")
        axes.grid(alpha=0.3)
    return picture


def _curve(axes: Axes, bins: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    said, true = [one["score"] for one in bins], [one["right"] for one in bins]
    axes.plot(said, true, color=colour, alpha=0.6)
    sizes = [6 + 4 * math.sqrt(one["count"]) for one in bins]
    axes.scatter(said, true, s=sizes, color=colour, label=name)
