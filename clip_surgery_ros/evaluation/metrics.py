"""Metrics of outcomes, with confidence intervals; differences are paired by example."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.outcome import MATCH_IOU, Outcome

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95 % interval then vary by about a tenth of its half width."""
BINS = 10
"""Number of bins of the reliability table."""


@dataclass(frozen=True)
class Metric:
    """A metric that is a ratio of two sums over all examples.

    :param parts: returns the terms of one example, for numerator and denominator.
    """

    name: str
    parts: Callable[[Outcome], tuple[float, float]]


METRICS: tuple[Metric, ...] = (
    Metric("mean IoU per label", lambda o: (sum(o.label_ious), len(o.label_ious))),
    Metric("mean IoU per instance", lambda o: (sum(o.instance_ious), len(o.instance_ious))),
    Metric("instance recall", lambda o: (_count_found(o), len(o.instance_ious))),
    Metric("instance precision", lambda o: (sum(o.true_positives), len(o.true_positives))),
    Metric("first segment right", lambda o: (sum(o.first_right), len(o.first_right))),
    Metric("pointing accuracy", lambda o: (sum(o.peak_inside), len(o.peak_inside))),
    Metric("present labels found", lambda o: (sum(o.found), len(o.found))),
    Metric("false alarms per absent label", lambda o: (sum(o.false_alarms), len(o.false_alarms))),
)


OBJECT_METRICS = ("mean IoU per instance", "instance recall")
"""Names of those that are of objects, so that they can be told by size."""
SIZE_LIMITS = (0.0, 0.1, 0.2, 0.4, math.inf)
"""Of the sizes that are told apart, as ``Outcome.instance_sizes``."""


def _count_found(outcome: Outcome) -> int:
    return sum(iou >= MATCH_IOU for iou in outcome.instance_ious)


def of_sizes(outcome: Outcome, low: float, high: float) -> Outcome:
    """Return the outcome with objects of sizes in [low, high) only; all else is as it was."""
    kept = [
        (iou, size)
        for iou, size in zip(outcome.instance_ious, outcome.instance_sizes, strict=True)
        if low <= size < high
    ]
    ious, sizes = tuple(iou for iou, _ in kept), tuple(size for _, size in kept)
    return replace(outcome, instance_ious=ious, instance_sizes=sizes)


@dataclass(frozen=True)
class Estimate:
    """A metric's value and the ends of its 95 % interval; NaN where there is nothing to count."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Percentile bootstrap over examples (Efron 1979); all variants share the same samples.

    :param examples: number of examples.

    >>> outcomes = [
    ...     Outcome((iou,), (iou,), (), (), (), (), (), (), (), (), ()) for iou in (0.5, 0.7, 0.9)
    ... ]
    >>> round(Bootstrap(3).estimate(METRICS[0], outcomes).value, 3)
    0.7
    """

    def __init__(self, examples: int, seed: int = 0) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        even = np.full(examples, 1 / examples)
        self._weights = rng.multinomial(examples, even, RESAMPLES).astype(np.float64)

    def estimate(self, metric: Metric, outcomes: Sequence[Outcome]) -> Estimate:
        """Estimate a metric of one variant."""
        return self._interval(*self._values(metric, outcomes))

    def difference(
        self, metric: Metric, outcomes: Sequence[Outcome], baseline: Sequence[Outcome]
    ) -> Estimate:
        """Estimate how much higher a metric is than the baseline's, on the same examples."""
        value, samples = self._values(metric, outcomes)
        baseline_value, baseline_samples = self._values(metric, baseline)
        return self._interval(value - baseline_value, samples - baseline_samples)

    def _values(
        self, metric: Metric, outcomes: Sequence[Outcome]
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the metric of all examples, and that of each bootstrap sample."""
        parts = np.array([metric.parts(outcome) for outcome in outcomes], np.float64)
        sums = parts.sum(axis=0)
        samples = self._weights @ parts
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(sums[0] / sums[1]), samples[:, 0] / samples[:, 1]

    @staticmethod
    def _interval(value: float, samples: NDArray[np.float64]) -> Estimate:
        samples = samples[np.isfinite(samples)]
        if not len(samples):
            return Estimate(value, np.nan, np.nan)
        low, high = np.quantile(samples, [0.025, 0.975])
        return Estimate(value, float(low), float(high))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the area under the ROC curve: the probability that a positive value is above a
    negative one. Ties count half; NaN where either is empty.

    >>> auroc([0.9, 0.4], [0.5, 0.1])
    0.75
    """
    p, n = len(positive), len(negative)
    if not p or not n:
        return float("nan")
    values = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))


def presence_auroc(outcomes: Sequence[Outcome]) -> float:
    """Return the AUROC of presence, of present labels against absent ones."""
    pairs = [
        pair
        for outcome in outcomes
        for pair in zip(outcome.presence, outcome.present, strict=True)
    ]
    positive = [presence for presence, is_present in pairs if is_present]
    return auroc(positive, [presence for presence, is_present in pairs if not is_present])


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a rate (Wilson 1927); (0, 1) without trials.

    >>> [round(end, 3) for end in wilson(0, 100)]
    [0.0, 0.037]
    """
    if not trials:
        return 0.0, 1.0
    z, rate = 1.96, successes / trials
    middle = rate + z**2 / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    low, high = ((middle + sign * half) / (1 + z**2 / trials) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class Bin:
    """Predicted probabilities in [low, high) of a reliability table.

    :param count: number of predictions.
    :param mean_predicted: their mean.
    :param fraction_true: fraction of them that came true.
    """

    low: float
    high: float
    count: int
    mean_predicted: float
    fraction_true: float


def reliability(predicted: Sequence[float], true: Sequence[bool]) -> list[Bin]:
    """Return the non-empty bins, of equal width from 0 to 1; the last one includes 1.

    :param predicted: probabilities, 0 to 1.
    :param true: whether each came true.
    """
    values, truths = np.array(predicted, np.float64), np.array(true, np.float64)
    indices = np.clip((values * BINS).astype(int), 0, BINS - 1)
    bins = []
    for index in range(BINS):
        inside = indices == index
        if inside.any():
            fraction = float(truths[inside].mean())
            low, high = index / BINS, (index + 1) / BINS
            bins.append(Bin(low, high, int(inside.sum()), float(values[inside].mean()), fraction))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the mean distance between predicted and true fractions, weighted by count (Naeini et
    al. 2015); NaN without bins.
    """
    total = sum(each.count for each in bins)
    if not total:
        return np.nan
    return sum(b.count * abs(b.mean_predicted - b.fraction_true) for b in bins) / total
