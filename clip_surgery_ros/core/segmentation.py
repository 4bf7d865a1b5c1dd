"""From prompts to segments: decode candidates with SAM, choose among them, measure the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.choice import (
    MIN_OWN_QUALITY,
    MIN_QUALITY,
    Choice,
    choose_objects,
    rank_candidates,
)
from clip_surgery_ros.core.geometry import crop, inside_box, mask_box
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates, PromptableSegmenter
from clip_surgery_ros.core.masks import (
    agreement,
    best_candidate,
    mass_above_zero,
    remove_specks,
    resize_map,
)
from clip_surgery_ros.core.points import height_at
from clip_surgery_ros.core.prompts import LabelPrompt
from clip_surgery_ros.core.recognition import Recognition
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import Box, Query, Segment
from clip_surgery_ros.core.views import View


class Segmentation:
    """Turns the prompts of a frame into segments.

    :param segmenter: its image embedding is computed at most once per view, and not at all
        without prompts.
    """

    def __init__(self, segmenter: PromptableSegmenter, settings: Settings) -> None:
        self._segmenter, self._settings = segmenter, settings

    def segments(
        self,
        view: View,
        query: Query,
        recognition: Recognition,
        prompts: Sequence[LabelPrompt],
        clock: Stages,
    ) -> tuple[Segment, ...]:
        """Return the segments of all prompts; masks that are too small are left out."""
        if not prompts:
            return ()
        embedding = view.embedding
        if embedding is None:
            with clock.stage("sam encoder"):
                embedding = view.embedding = self._segmenter.encode(view.pixels)
        with clock.stage("sam decoder"):
            offered = self._segmenter.decode(embedding, [prompt.points for prompt in prompts])
            choices = self._choose(offered, prompts, recognition, embedding)
            if not choices:
                return ()
            logits = torch.stack([choice.logits for choice in choices])
            masks = self._segmenter.full_size(embedding, logits)
        with clock.stage("masks"):
            return self._measure(choices, masks, query, recognition, prompts)

    def _choose(
        self,
        offered: Sequence[MaskCandidates],
        prompts: Sequence[LabelPrompt],
        recognition: Recognition,
        embedding: ImageEmbedding,
    ) -> list[Choice]:
        """Return the candidates that become segments."""
        if self._settings.recipe.mask_choice == "objects":
            # Only labels with prompts are compared: absent labels do not compete for pixels.
            present = sorted({prompt.label for prompt in prompts})
            maps = recognition.label_maps[present]
            rows = [present.index(prompt.label) for prompt in prompts]
            model = self._settings.ranking
            heights = [] if model else _heights(prompts, recognition)
            pool = rank_candidates(offered, rows, maps, embedding.inner_hw, model, heights)
            return choose_objects(pool, MIN_QUALITY if model else MIN_OWN_QUALITY)
        return [
            Choice(prompt, *best_candidate(candidates))
            for prompt, candidates in enumerate(offered)
        ]

    def _measure(
        self,
        choices: Sequence[Choice],
        masks: NDArray[np.bool_],
        query: Query,
        recognition: Recognition,
        prompts: Sequence[LabelPrompt],
    ) -> tuple[Segment, ...]:
        """Return a segment for each choice whose (H, W) mask is large enough."""
        labels = {prompts[choice.prompt].label for choice in choices}
        maps = {i: resize_map(recognition.label_maps[i], recognition.size_hw) for i in labels}
        masses = {label: mass_above_zero(values) for label, values in maps.items()}
        segments: list[Segment] = []
        for choice, mask in zip(choices, masks, strict=True):
            prompt = prompts[choice.prompt]
            found = clean_mask(mask, self._settings.min_area)
            if found is None:
                continue
            box, cut = found
            similarity_map = inside_box(maps[prompt.label], box)
            similarity, share = agreement(cut, similarity_map, masses[prompt.label])
            presence = float(recognition.presence[prompt.label])
            segments.append(
                Segment(
                    id=len(segments) + 1,
                    label=prompt.label,
                    name=query.labels[prompt.label].name,
                    # A segment is correct if its label is present and its mask good: a product.
                    score=presence * self._mask_score(choice),
                    presence=presence,
                    similarity=similarity,
                    agreement=share,
                    box=box,
                    mask=cut,
                    points=prompt.points,
                )
            )
        return tuple(segments)

    def _mask_score(self, choice: Choice) -> float:
        """Return how good the mask is if its label is present, 0 to 1."""
        model = self._settings.ranking
        if self._settings.recipe.score == "probability" and model:
            return model.probability_correct(choice.quality, choice.is_further)
        return min(max(choice.quality, 0.0), 1.0)


def _heights(prompts: Sequence[LabelPrompt], recognition: Recognition) -> list[float]:
    """Return the height of its label's map at each prompt's first point."""
    return [
        height_at(recognition.label_maps[prompt.label], prompt.points.xy[0], recognition.size_hw)
        for prompt in prompts
    ]


def clean_mask(mask: NDArray[np.bool_], min_area: int) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the box of an (H, W) mask without its specks, and the mask inside this box.

    Only the mask's box is searched for specks, because most masks are small.

    :param min_area: see :func:`~clip_surgery_ros.core.masks.remove_specks`.
    :returns: None when nothing is left.
    """
    outer = mask_box(mask)
    if outer is None:
        return None
    cleaned = remove_specks(inside_box(mask, outer), min_area)
    inner = mask_box(cleaned)
    if inner is None:
        return None
    box = Box(outer.x + inner.x, outer.y + inner.y, inner.width, inner.height)
    return box, crop(cleaned, inner)
