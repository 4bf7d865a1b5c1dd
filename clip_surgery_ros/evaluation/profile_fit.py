"""Fit a profile to the samples of pictures, and measure it on other pictures."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.choice import Candidate, Choice, choose_objects
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.ranking import RankingModel
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import Calibration
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.comparison import Outcomes
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.fit_samples import (
    MaskSamples,
    PictureSamples,
    SampleFolder,
    Sampler,
)
from clip_surgery_ros.evaluation.fitting import fit_logistic, fit_presence, fit_ranking
from clip_surgery_ros.evaluation.metrics import calibration_error, reliability, wilson
from clip_surgery_ros.evaluation.outcome import Outcome, match_overlaps, outcome_of
from clip_surgery_ros.networks.factory import LoadedNetworks, conditions_of, settings_of
from clip_surgery_ros.networks.profiles import NetworkFile, Profile
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.parameters.config import Config

HELD_OUT_EACH = 5
"""About one picture of so many is not fitted on: the errors are measured on these."""
MIN_LABELS = 20
"""Present labels, and absent ones, that a fit needs: with fewer, the level of presence is wrong by
more than what fitting gains."""
PRESENCE_PENALTY = 1e-3
"""See ``fit_presence``: it bounds the scale where all labels can be told apart, and changes little
elsewhere."""
SCORE_PENALTY = 1.0
"""See ``fit_logistic``: as much as the evidence of a few masks."""
RESAMPLES = 500
"""Bootstrap samples of the calibration errors."""


@dataclass(frozen=True)
class Fitted:
    """What was fitted.

    :param ranking: None where no picture had masks.
    :param pictures: how many it was fitted on.
    """

    presence: PresenceLevel
    ranking: RankingModel | None
    pictures: int


def is_held_out(number: int) -> bool:
    """Return whether the picture of a number is kept for measuring.

    A checksum decides, because pictures of several sets often come in turns.
    """
    return zlib.crc32(number.to_bytes(4)) % HELD_OUT_EACH == 0


def collect(
    sampler: Sampler, folder: SampleFolder, examples: Iterable[Example], total: int
) -> list[PictureSamples]:
    """Return the samples of the pictures to fit on, with a progress bar.

    :param folder: samples that are there are not computed again.
    """
    samples = []
    for number, example in enumerate(tqdm(examples, total=total, unit="picture", desc="samples")):
        if is_held_out(number):
            continue
        found = folder.read(number)
        if found is None:
            found = sampler.samples(example)
            folder.write(number, found)
        samples.append(found)
    return samples


def fit(samples: Sequence[PictureSamples], now: Settings) -> Fitted:
    """Fit presence, ranking and score.

    :param now: settings in force; few masks change their ranking little.
    :raises DatasetError: when the pictures do not suffice.
    """
    masks = [group for picture in samples for group in picture.masks]
    ranking = _fit_ranking(masks, now.ranking or RankingModel()) if masks else None
    return Fitted(_fit_presence(samples), ranking, len(samples))


def _fit_presence(samples: Sequence[PictureSamples]) -> PresenceLevel:
    """Fit presence; it never falls where a cosine grows."""
    cosines = torch.from_numpy(np.concatenate([each.cosines for each in samples]))
    there = torch.from_numpy(np.concatenate([each.present for each in samples]))
    present, absent = cosines[there], cosines[~there]
    if min(len(present), len(absent)) < MIN_LABELS:
        raise DatasetError(
            f"the pictures have {len(present)} labels that are there and {len(absent)} that are "
            f"not; a fit needs {MIN_LABELS} of each: name more pictures"
        )
    level = fit_presence([present], [absent], PRESENCE_PENALTY)
    if level.peak_weight < 0:  # the best token says nothing that CLS does not
        level = fit_presence([present[:, :1]], [absent[:, :1]], PRESENCE_PENALTY)
    if level.scale <= 0 or level.peak_weight < 0:
        raise DatasetError(
            "labels that are there are less like the pictures than those that are not; check that "
            "names and pictures belong together"
        )
    return level


def _fit_ranking(masks: Sequence[MaskSamples], now: RankingModel) -> RankingModel:
    features = np.concatenate([group.features for group in masks]).astype(np.float64)
    overlaps = np.concatenate([group.overlaps.max(axis=1) for group in masks])
    weights = fit_ranking(features, overlaps.astype(np.float64), now.weights).astype(np.float32)
    model = replace(now, weights=weights)
    chosen = [each for group in masks if group.all_labels for each in _choices(group, model)]
    return replace(
        model,
        first=_fit_score(chosen, False, now.first),
        further=_fit_score(chosen, True, now.further),
    )


def _choices(group: MaskSamples, model: RankingModel) -> Iterator[tuple[Choice, bool]]:
    """Yield the masks that the method chooses, and whether each is an object that no better is."""
    quality = model.predicted_iou(group.features)
    best = {int(rows[quality[rows].argmax()]) for rows in _rows_of_prompts(group)}
    pool = [
        Candidate(
            # The row takes the place of the logits, which nothing here needs.
            Choice(int(group.prompts[row]), torch.tensor(row), float(quality[row])),
            0,
            group.masks[row],
            group.features[row],
            row in best,
        )
        for row in range(len(quality))
    ]
    choices = choose_objects(pool)
    rows = [int(choice.logits) for choice in choices]
    matched = set(match_overlaps(group.overlaps[rows]).values())
    yield from ((choice, index in matched) for index, choice in enumerate(choices))


def _rows_of_prompts(group: MaskSamples) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(group.prompts == prompt) for prompt in np.unique(group.prompts)]


def _fit_score(
    chosen: Sequence[tuple[Choice, bool]], is_further: bool, now: tuple[float, float]
) -> tuple[float, float]:
    """Fit the probability that a mask is correct; where that would fall with quality, as now."""
    samples = [(c.quality, good) for c, good in chosen if c.is_further == is_further]
    if not samples:
        return now
    quality, good = np.array(samples, np.float64).T
    offset, scale = fit_logistic(quality, good > 0, now, SCORE_PENALTY)
    return (offset, scale) if scale > 0 else now


def samples_key(
    networks: LoadedNetworks, config: Config, pair: tuple[NetworkFile, NetworkFile], source: str
) -> str:
    """Return what the samples of a folder are of, as :class:`SampleFolder` needs it."""
    parts = (*pair, conditions_of(config, networks.clip, networks.windows(config)))
    return json.dumps([*(asdict(part) for part in parts), source])


def fit_profile(
    networks: LoadedNetworks,
    config: Config,
    pair: tuple[NetworkFile, NetworkFile],
    folder: SampleFolder,
    examples: Callable[[], Iterator[Example]],
    count: int,
) -> tuple[Profile, Outcomes]:
    """Fit a profile on four of five pictures, and measure it on the others.

    :param pair: digests of CLIP and segmenter.
    :param folder: of samples of earlier runs.
    :param examples: returns the pictures, the same ones at each call.
    :param count: how many there are at most, for the progress bars.
    :returns: the profile; and what was found before and after, on the others.
    :raises DatasetError: when the pictures do not suffice.
    """
    samples = collect(Sampler(networks, config), folder, examples(), count)
    fitted = fit(samples, networks.settings(config))
    windows = networks.windows(config)
    conditions = conditions_of(config, networks.clip, windows)
    measured_nothing = Calibration(fitted.pictures, 0, 1.0, 1.0, 0.0, 1.0)
    profile = Profile(*pair, conditions, fitted.presence, fitted.ranking, measured_nothing)
    settings = {
        "before": networks.settings(config),
        "after": settings_of(config, networks.clip, windows, profile),
    }
    segmenter = CachingSegmenter(networks.sam)
    pipelines = {
        name: Pipeline(networks.clip, segmenter, each, networks.device)
        for name, each in settings.items()
    }
    outcomes = measure(pipelines, examples(), count)
    if not outcomes["after"]:
        raise DatasetError("none of the pictures is left to measure the fit on; name more")
    calibration = calibration_of(outcomes["after"], fitted.pictures)
    return replace(profile, calibration=calibration), outcomes


def measure(
    pipelines: Mapping[str, Pipeline], examples: Iterable[Example], total: int
) -> dict[str, list[Outcome]]:
    """Run pipelines on the pictures that nothing was fitted on, with a progress bar.

    :param examples: of all pictures.
    """
    outcomes: dict[str, list[Outcome]] = {name: [] for name in pipelines}
    for number, example in enumerate(tqdm(examples, total=total, unit="picture", desc="held out")):
        if not is_held_out(number):
            continue
        for name, pipeline in pipelines.items():
            result = pipeline.run(example.image, query_of_names(example.queried))
            outcome = outcome_of(example, result)
            if example.present and not example.masks:  # masks are neither right nor wrong
                outcome = replace(outcome, scores=(), true_positives=())
            outcomes[name].append(outcome)
    return outcomes


def calibration_of(outcomes: Sequence[Outcome], pictures: int) -> Calibration:
    """Return how far presence and score are off, with the worse ends of their 95 % intervals.

    :param outcomes: at least one.
    :param pictures: how many they were fitted on.
    """
    scores = [list(zip(each.scores, each.true_positives, strict=True)) for each in outcomes]
    presence = [list(zip(each.presence, each.present, strict=True)) for each in outcomes]
    found = [good for each in outcomes for good in each.found]
    false_alarms = [wrong for each in outcomes for wrong in each.false_alarms]
    return Calibration(
        pictures,
        len(outcomes),
        _highest_error(scores),
        _highest_error(presence),
        wilson(sum(found), len(found))[0],
        wilson(sum(false_alarms), len(false_alarms))[1],
    )


def _highest_error(pairs: Sequence[Sequence[tuple[float, bool]]]) -> float:
    """Return the upper end of the calibration error's 95 % interval, by bootstrap over pictures.

    :param pairs: of each picture, predictions and whether each came true; NaN without any.
    """
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(RESAMPLES):
        drawn = [*chain.from_iterable(pairs[i] for i in rng.integers(len(pairs), size=len(pairs)))]
        predicted, true = [pair[0] for pair in drawn], [pair[1] for pair in drawn]
        errors.append(calibration_error(reliability(predicted, true)) if drawn else np.nan)
    return float(np.nanquantile(errors, 0.975)) if any(map(len, pairs)) else float("nan")
