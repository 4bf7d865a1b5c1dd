"""Recipes, or numbers of absent labels asked, on the same examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.outcome import Outcome, outcome_of
from clip_surgery_ros.networks.factory import LoadedNetworks, settings_of
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.parameters.config import Config

Outcomes = Mapping[str, Sequence[Outcome]]
"""By name of the variant, in the order of the examples."""


@dataclass(frozen=True)
class Variant:
    """A way to ask and to answer.

    :param absent_asked: how many of an example's absent labels are asked; None for all.
    """

    config: Config
    absent_asked: int | None = None


def compared(
    networks: LoadedNetworks,
    variants: Mapping[str, Variant],
    examples: Iterable[Example],
    title: str,
    total: int | None = None,
) -> Outcomes:
    """What each variant makes of each example, with a progress bar.

    Examples are asked for all their labels at once, those that are there and those that are not.

    :param variants: by name; of the same networks.
    """
    segmenter = CachingSegmenter(networks.sam)
    pipelines = {
        config: Pipeline(networks.clip, segmenter, settings_of(config, networks.clip))
        for config in {one.config for one in variants.values()}
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in variants}
    for example in tqdm(examples, desc=title, total=total, unit="picture"):
        for name, variant in variants.items():
            truth = replace(example, absent=example.absent[: variant.absent_asked])
            result = pipelines[variant.config].run(truth.image, query_of_names(truth.asked))
            outcomes[name].append(outcome_of(truth, result))
    return outcomes
