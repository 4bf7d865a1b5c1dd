"""Recipes on the same examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from clip_surgery_ros.backends.encoded_once import EncodedOnce
from clip_surgery_ros.backends.factory import LoadedNetworks, settings_of
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.outcome import Outcome, outcome_of

Outcomes = Mapping[str, Sequence[Outcome]]
"""By recipe, in the order of the examples."""


def compared(
    networks: LoadedNetworks,
    configs: Mapping[str, Config],
    examples: Iterable[Example],
    title: str,
    total: int | None = None,
) -> Outcomes:
    """What each recipe makes of each example, with a progress bar.

    Examples are asked for all their labels at once, those that are there and those that are not.

    :param configs: by name of the recipe; of the same networks.
    """
    segmenter = EncodedOnce(networks.sam)
    pipelines = {
        name: Pipeline(networks.clip, segmenter, settings_of(one, networks.clip))
        for name, one in configs.items()
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in configs}
    for truth in tqdm(examples, desc=title, total=total, unit="picture"):
        query = query_of(truth.asked)
        for name, pipeline in pipelines.items():
            outcomes[name].append(outcome_of(truth, pipeline.run(truth.image, query)))
    return outcomes
