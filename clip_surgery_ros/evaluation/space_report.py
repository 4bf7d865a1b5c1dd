"""Summarise outcomes in space, as Markdown tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clip_surgery_ros.evaluation.space import SpaceOutcome
from clip_surgery_ros.evaluation.space_recipes import RECIPES
from clip_surgery_ros.evaluation.tables import header, row, write_tables

FAR = 0.05
"""Metres from the truth from which a box without a reason counts as wrong."""
OWN = next(iter(RECIPES))


@dataclass(frozen=True)
class SpaceSummary:
    """A recipe's figures with one sensor and one kind of mask. NaN is: nothing to count.

    :param objects: seen whole, which centre and sizes are about.
    :param located: share of them with a place.
    :param centre_median: distance of the centre from the truth, metres; ``centre_p90`` its
        90th percentile.
    :param size_median: median of the size's difference over the true one: shorter side of the
        footprint, longer side, height.
    :param far_without_reason: share of the boxes of all objects, also those that are partly
        hidden or cut by the border, that are farther off than :data:`FAR` and give no reason.
    :param far_named: names of these objects.
    :param within_deviation: share of coordinates of the centre, along the axes of its
        covariance, that are within one deviation of the truth; 0.68 is calibrated.
    :param within_two: the same within two deviations; 0.95 is calibrated.
    """

    objects: int
    located: float
    centre_median: float
    centre_p90: float
    size_median: tuple[float, float, float]
    far_without_reason: float
    far_named: tuple[str, ...]
    within_deviation: float
    within_two: float


Summaries = Mapping[str, Mapping[str, Mapping[str, SpaceSummary]]]
"""By recipe, sensor and kind of mask."""


def summaries(outcomes: Sequence[SpaceOutcome]) -> Summaries:
    """Return the figures of every recipe, sensor and kind of mask among outcomes."""
    groups: dict[str, dict[str, dict[str, list[SpaceOutcome]]]] = {}
    for each in outcomes:
        sensors = groups.setdefault(each.recipe, {})
        sensors.setdefault(each.sensor, {}).setdefault(each.mask, []).append(each)
    return {
        recipe: {
            sensor: {mask: summary_of(group) for mask, group in masks.items()}
            for sensor, masks in sensors.items()
        }
        for recipe, sensors in groups.items()
    }


def summary_of(outcomes: Sequence[SpaceOutcome]) -> SpaceSummary:
    """Return the figures of one recipe with one sensor and one kind of mask."""
    whole = [each for each in outcomes if each.is_whole]
    located = [each for each in whole if each.place is not None]
    distances = [each.distance for each in located]
    sizes = [np.abs(each.size_off) for each in located if each.size_off is not None]
    boxes = [each for each in outcomes if each.place is not None]
    far = [each for each in boxes if each.distance > FAR and not each.place.reasons]  # type: ignore[union-attr]
    deviations = [each.deviations for each in boxes if each.deviations is not None]
    short, long, high = np.median(sizes, axis=0).tolist() if sizes else [math.nan] * 3
    return SpaceSummary(
        len(whole),
        len(located) / len(whole) if whole else math.nan,
        float(np.median(distances)) if distances else math.nan,
        float(np.quantile(distances, 0.9)) if distances else math.nan,
        (short, long, high),
        len(far) / len(boxes) if boxes else math.nan,
        tuple(each.name for each in far),
        float((np.abs(deviations) <= 1).mean()) if deviations else math.nan,
        float((np.abs(deviations) <= 2).mean()) if deviations else math.nan,
    )


def markdown(found: Summaries) -> str:
    """Return the tables in Markdown: this package's recipe, and all recipes side by side."""
    return "\n\n".join("\n".join(rows(found)) for rows in (_own_rows, _recipe_rows))


def _own_rows(found: Summaries) -> Iterator[str]:
    heads = ["sensor errors", "mask", "objects", "with a box", "centre, mm: median", "90 %"]
    heads += ["size, %: short", "long", "height", "5 cm off, no reason", "within 1 / 2 deviations"]
    yield from header(heads)
    for mask, summary in found.get("floor", {}).get("off", {}).items():
        yield row(["off", f"{mask}; box round all points", *_cells(summary)])
    for sensor, masks in found[OWN].items():
        for mask, summary in masks.items():
            yield row([sensor, mask, *_cells(summary)])


def _recipe_rows(found: Summaries) -> Iterator[str]:
    conditions = [(sensor, mask) for sensor, masks in found[OWN].items() for mask in masks]
    heads = (f"{sensor}, {mask}" for sensor, mask in conditions)
    yield from header(["centre, mm: median / 90 %", *heads])
    for recipe in RECIPES:
        cells = []
        for sensor, mask in conditions:
            one = found.get(recipe, {}).get(sensor, {}).get(mask)
            cells.append(f"{_mm(one.centre_median)} / {_mm(one.centre_p90)}" if one else "")
        yield row([recipe, *cells])


def _cells(one: SpaceSummary) -> list[str]:
    sizes = [f"{100 * value:.1f}" for value in one.size_median]
    within = f"{one.within_deviation:.0%} / {one.within_two:.0%}"
    within = "" if math.isnan(one.within_deviation) else within
    centre = [_mm(one.centre_median), _mm(one.centre_p90)]
    far = f"{one.far_without_reason:.1%}"
    return [str(one.objects), f"{one.located:.1%}", *centre, *sizes, far, within]


def _mm(metres: float) -> str:
    return f"{1000 * metres:.1f}"


def write(found: Summaries, folder: Path) -> list[Path]:
    """Write ``space.json`` and ``space.md``.

    :returns: the files written.
    """
    values = {
        recipe: {
            sensor: {mask: asdict(summary) for mask, summary in by_mask.items()}
            for sensor, by_mask in by_sensor.items()
        }
        for recipe, by_sensor in found.items()
    }
    return write_tables(folder, "space", values, markdown(found))
