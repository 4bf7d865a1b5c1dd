"""The settings of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clip_surgery_ros.core.presence import DISTRACTORS, PresenceLevel
from clip_surgery_ros.core.ranking import RankingModel
from clip_surgery_ros.core.recipes import RECIPES, Recipe
from clip_surgery_ros.core.types import Calibration
from clip_surgery_ros.core.vocabulary import Vocabulary


@dataclass(frozen=True)
class Settings:
    """What a pipeline processes frames with.

    Fields without a description are parameters of the same name: ``parameters.config`` describes
    them, and ``networks.factory.settings_of`` converts them.

    :param presence_level: how cosines of this CLIP become presence.
    :param ranking: how masks are ranked and scored, by the mask choice ``"objects"``. None for
        networks for which nothing was fitted: see ``choice.rank_candidates``.
    :param calibration: what presence and score were fitted on; None if not for these networks.
    :param threshold: raw similarity below which tokens are ignored; None for no threshold.
    :param label_thresholds: the same for single labels, by case-folded name.
    :param distractor_names: names that are compared along with the labels; may be empty.
    :param recipe: how maps become points, masks and scores.
    :param windows: whether CLIP encodes windows of the image too.
    :param vocabulary: the names that CLIP knows; without names, CLIP knows general language.

    >>> settings = Settings(recipe=RECIPES["instances"], threshold=0.2)
    >>> settings.recipe.points, settings.min_area
    ('peaks', 16)
    """

    presence_level: PresenceLevel = field(default_factory=PresenceLevel)
    ranking: RankingModel | None = field(default_factory=RankingModel)
    calibration: Calibration | None = None
    presence_threshold: float = 0.5
    threshold: float | None = None
    label_thresholds: Mapping[str, float] = field(default_factory=dict)
    distractor_names: tuple[str, ...] = DISTRACTORS
    recipe: Recipe = RECIPES["reference"]
    windows: bool = False
    point_threshold: float = 0.8
    min_area: int = 16
    still_threshold: float = 0.0
    stage_waits: bool = False
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
