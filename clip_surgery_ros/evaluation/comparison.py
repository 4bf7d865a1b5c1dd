"""Run variants of the method, by recipe, number of absent labels or condition, on the same
examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.evaluation.conditions import CONDITIONS
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.outcome import Outcome, outcome_of
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.parameters.config import Config

Outcomes = Mapping[str, Sequence[Outcome]]
"""By name of the variant, in the order of the examples."""


@dataclass(frozen=True)
class Variant:
    """A configuration, and what is asked of which pictures with it.

    :param absent_count: how many of an example's absent labels are queried; None for all.
    :param condition: what happens to the pictures, a key of :data:`conditions.CONDITIONS`; empty
        for nothing.
    """

    config: Config
    absent_count: int | None = None
    condition: str = ""

    def applied_to(self, example: Example) -> Example:
        """Return an example as this variant asks it."""
        image = example.image
        if self.condition:
            image = CONDITIONS[self.condition](image)
        return replace(example, image=image, absent=example.absent[: self.absent_count])


def compare(
    networks: LoadedNetworks,
    variants: Mapping[str, Variant],
    examples: Iterable[Example],
    title: str,
    total: int | None = None,
) -> Outcomes:
    """Run each variant on each example, with a progress bar.

    One query of an example has all its labels, present and absent ones.

    :param variants: by name; all for the same networks.
    :param title: of the progress bar.
    :param total: number of examples, for the progress bar.
    """
    segmenter = CachingSegmenter(networks.sam)
    pipelines = {
        config: Pipeline(networks.clip, segmenter, networks.settings(config), networks.device)
        for config in {variant.config for variant in variants.values()}
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in variants}
    for example in tqdm(examples, desc=title, total=total, unit="picture"):
        for name, variant in variants.items():
            queried = variant.applied_to(example)
            result = pipelines[variant.config].run(queried.image, query_of_names(queried.queried))
            outcomes[name].append(outcome_of(queried, result))
    return outcomes
