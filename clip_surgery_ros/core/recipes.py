"""Recipes: the choices on the way from a label's map to its segments. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """How maps become points, candidates become segments, and segments get their score.

    :param points: ``"peaks"``: a prompt for every local maximum of a label's map
        (``points.instance_points``). ``"thresholded"``: one prompt per label, with the cells above
        ``Settings.point_threshold`` and as many of the lowest (``points.reference_points``).
    :param mask_choice: ``"objects"``: candidates are ranked by the map, and one segment per object
        stays (``choice.choose_objects``). ``"best_quality"``: of each prompt, the candidate with
        the highest estimate of the segmenter itself (``masks.best_candidate``).
    :param score: what is multiplied with presence. ``"probability"``: the probability that the
        mask is correct (``ranking.probability_correct``), which was fitted for the mask choice
        ``"objects"``. ``"quality"``: the estimated IoU of the chosen candidate.
    :param supports_windows: whether the parameter ``clip_windows`` has an effect.

    >>> RECIPES["reference"].points
    'thresholded'
    """

    points: Literal["peaks", "thresholded"]
    mask_choice: Literal["objects", "best_quality"]
    score: Literal["probability", "quality"]
    supports_windows: bool


RECIPES: Mapping[str, Recipe] = {
    "reference": Recipe("thresholded", "best_quality", "quality", supports_windows=False),
    "instances": Recipe("peaks", "objects", "probability", supports_windows=True),
}
"""Recipe by value of the parameter ``recipe``; the first is the paper's."""
