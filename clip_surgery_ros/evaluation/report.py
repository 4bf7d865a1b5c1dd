"""The metrics of all variants on all sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from clip_surgery_ros.evaluation.comparison import Outcomes
from clip_surgery_ros.evaluation.metrics import (
    METRICS,
    OBJECT_METRICS,
    SIZE_LIMITS,
    Bin,
    Bootstrap,
    Estimate,
    of_sizes,
    presence_auroc,
    reliability,
)
from clip_surgery_ros.evaluation.outcome import Outcome

OVERALL = "all sets"


@dataclass(frozen=True)
class SetReport:
    """The metrics of all variants on one set of pictures.

    :param presence_auroc: by variant.
    :param metrics: by metric and variant.
    :param differences: to the baseline, by metric and variant; the baseline has none.
    """

    pictures: int
    presence_auroc: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class SizeReport:
    """The metrics of all variants on the objects of one size, of all sets together.

    :param low: least size, as ``Outcome.instance_sizes``.
    :param high: the size that none reaches.
    :param objects: how many there are.
    :param metrics: those of :data:`metrics.OBJECT_METRICS`, by variant.
    """

    low: float
    high: float
    objects: int
    metrics: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Report:
    """The metrics of all variants on all sets.

    :param variants: names; the first is the baseline of the others.
    :param sets: by name; with several sets, :data:`OVERALL` is the last.
    :param sizes: from the smallest; those that no object has are left out.
    :param score_reliability: of all sets together, by variant.
    :param presence_reliability: of all sets together, by variant.
    """

    variants: Sequence[str]
    sets: Mapping[str, SetReport]
    sizes: Sequence[SizeReport]
    score_reliability: Mapping[str, Sequence[Bin]]
    presence_reliability: Mapping[str, Sequence[Bin]]


def report_of(sets: Mapping[str, Outcomes]) -> Report:
    """Compute all metrics.

    :param sets: outcomes by name of the set; all of the same variants.
    """
    variants = list(next(iter(sets.values())))
    merged = {
        variant: [outcome for outcomes in sets.values() for outcome in outcomes[variant]]
        for variant in variants
    }
    all_sets = {**sets, OVERALL: merged} if len(sets) > 1 else dict(sets)
    return Report(
        variants,
        {name: _set_report(outcomes) for name, outcomes in all_sets.items()},
        [*_size_reports(merged)],
        {variant: _score_reliability(merged[variant]) for variant in variants},
        {variant: _presence_reliability(merged[variant]) for variant in variants},
    )


def _set_report(outcomes: Outcomes) -> SetReport:
    baseline, *others = outcomes
    bootstrap = Bootstrap(len(outcomes[baseline]))
    return SetReport(
        len(outcomes[baseline]),
        {variant: presence_auroc(outcomes[variant]) for variant in outcomes},
        {
            metric.name: {
                variant: bootstrap.estimate(metric, outcomes[variant]) for variant in outcomes
            }
            for metric in METRICS
        },
        {
            metric.name: {
                variant: bootstrap.difference(metric, outcomes[variant], outcomes[baseline])
                for variant in others
            }
            for metric in METRICS
        },
    )


def _size_reports(outcomes: Outcomes) -> Iterator[SizeReport]:
    baseline = next(iter(outcomes))
    bootstrap = Bootstrap(len(outcomes[baseline]))
    for low, high in pairwise(SIZE_LIMITS):
        chosen = {
            variant: [of_sizes(outcome, low, high) for outcome in results]
            for variant, results in outcomes.items()
        }
        objects = sum(len(outcome.instance_sizes) for outcome in chosen[baseline])
        if objects:
            metrics = {
                metric.name: {
                    variant: bootstrap.estimate(metric, results)
                    for variant, results in chosen.items()
                }
                for metric in METRICS
                if metric.name in OBJECT_METRICS
            }
            yield SizeReport(low, high, objects, metrics)


def _score_reliability(outcomes: Sequence[Outcome]) -> list[Bin]:
    scores = [score for outcome in outcomes for score in outcome.scores]
    return reliability(scores, [true for outcome in outcomes for true in outcome.true_positives])


def _presence_reliability(outcomes: Sequence[Outcome]) -> list[Bin]:
    presence = [value for outcome in outcomes for value in outcome.presence]
    return reliability(presence, [true for outcome in outcomes for true in outcome.present])
