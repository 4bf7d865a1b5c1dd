"""Outcomes to figures, with intervals; recipes are compared on the same examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.outcome import FOUND_FROM, Outcome

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95 % interval then move by about a tenth of its half width."""
BINS = 10
"""Of the reliability table."""


@dataclass(frozen=True)
class Figure:
    """A figure that is a share: what it counts, over what.

    :param parts: of an example's outcome, numerator and denominator.
    """

    name: str
    parts: Callable[[Outcome], tuple[float, float]]


FIGURES: tuple[Figure, ...] = (
    Figure("mean IoU per label", lambda o: (sum(o.label_ious), len(o.label_ious))),
    Figure("mean IoU per instance", lambda o: (sum(o.instance_ious), len(o.instance_ious))),
    Figure("instance recall", lambda o: (_found(o), len(o.instance_ious))),
    Figure("instance precision", lambda o: (sum(o.right), len(o.right))),
    Figure("pointing accuracy", lambda o: (sum(o.hits), len(o.hits))),
    Figure("present labels found", lambda o: (sum(o.found), len(o.found))),
    Figure("false alarms per absent label", lambda o: (sum(o.alarms), len(o.alarms))),
)


def _found(outcome: Outcome) -> int:
    return sum(iou >= FOUND_FROM for iou in outcome.instance_ious)


@dataclass(frozen=True)
class Value:
    """A figure with the ends of its 95 % interval; NaN where there is nothing to count."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Percentile bootstrap over examples (Efron 1979); the same samples for every recipe.

    :param examples: how many there are.
    """

    def __init__(self, examples: int, seed: int = 0) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        even = np.full(examples, 1 / examples)
        self._weights = rng.multinomial(examples, even, RESAMPLES).astype(np.float64)

    def share(self, figure: Figure, outcomes: Sequence[Outcome]) -> Value:
        """The figure of one recipe."""
        return self._value(*self._shares(figure, outcomes))

    def difference(
        self, figure: Figure, outcomes: Sequence[Outcome], baseline: Sequence[Outcome]
    ) -> Value:
        """How much higher the figure is than the baseline's, on the same examples."""
        one, samples = self._shares(figure, outcomes)
        other, baseline_samples = self._shares(figure, baseline)
        return self._value(one - other, samples - baseline_samples)

    def _shares(
        self, figure: Figure, outcomes: Sequence[Outcome]
    ) -> tuple[float, NDArray[np.float64]]:
        """The figure, and the figure of every sample."""
        parts = np.array([figure.parts(outcome) for outcome in outcomes], np.float64)
        whole = parts.sum(axis=0)
        samples = self._weights @ parts
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(whole[0] / whole[1]), samples[:, 0] / samples[:, 1]

    @staticmethod
    def _value(value: float, samples: NDArray[np.float64]) -> Value:
        samples = samples[np.isfinite(samples)]
        if not len(samples):
            return Value(value, np.nan, np.nan)
        low, high = np.quantile(samples, [0.025, 0.975])
        return Value(value, float(low), float(high))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a present label scores above an absent one; ties count half, NaN of none."""
    p, n = len(positive), len(negative)
    if not p or not n:
        return float("nan")
    scores = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))


def presence_auroc(outcomes: Sequence[Outcome]) -> float:
    """AUROC of presence, of labels that are there against those that are not."""
    pairs = [pair for one in outcomes for pair in zip(one.presence, one.there, strict=True)]
    return auroc([s for s, there in pairs if there], [s for s, there in pairs if not there])


@dataclass(frozen=True)
class Bin:
    """Scores in [low, high): how many, their mean, and how many of them are right."""

    low: float
    high: float
    count: int
    score: float
    right: float


def reliability(scores: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Bins of equal width from 0 to 1 that hold anything; 1 belongs to the last."""
    values, truths = np.array(scores, np.float64), np.array(right, np.float64)
    place = np.clip((values * BINS).astype(int), 0, BINS - 1)
    bins = []
    for index in range(BINS):
        inside = place == index
        if inside.any():
            share = float(truths[inside].mean())
            low, high = index / BINS, (index + 1) / BINS
            bins.append(Bin(low, high, int(inside.sum()), float(values[inside].mean()), share))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance between score and share right, weighted by count (Naeini et al. 2015)."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.score - one.right) for one in bins) / total if total else np.nan
