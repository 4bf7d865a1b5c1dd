"""Image and query to everything known of the frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.choice import Choice, choose_objects, rank_candidates
from clip_surgery_ros.core.errors import DeviceError, ImageError
from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.core.heatmap import surgery_cosines, thresholded, zero_shot_probabilities
from clip_surgery_ros.core.interfaces import (
    ImageEmbedding,
    ImageTextEncoder,
    MaskCandidates,
    PromptableSegmenter,
)
from clip_surgery_ros.core.masks import agreement, best_candidate, remove_specks, resize_map
from clip_surgery_ros.core.names import join_maps, names_of, per_label, per_part
from clip_surgery_ros.core.points import combined_points, instance_points, reference_points
from clip_surgery_ros.core.presence import DISTRACTORS, PresenceLevel, presence_score
from clip_surgery_ros.core.ranking import probability_correct
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import (
    AbsentLabel,
    FrameResult,
    Label,
    PointPrompts,
    Query,
    Segment,
    Wanted,
)
from clip_surgery_ros.core.views import View, Views
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.core.windows import Encode, encode_image, token_grid

MIN_SIDE = 8
"""Images smaller than this in pixels show nothing that could be segmented."""


@dataclass(frozen=True)
class Settings:
    """What a frame is answered with; the parameters of the same names document each.

    :param threshold: raw similarity below which tokens count as nothing; None for none.
    :param label_thresholds: the same for single labels, by name without regard to case.
    :param distractor_names: names that join the labels; empty to leave them out.
    :param vocabulary: what the network knows, where it does not know language at large.
    """

    presence_level: PresenceLevel = field(default_factory=PresenceLevel)
    presence_threshold: float = 0.5
    threshold: float | None = None
    label_thresholds: Mapping[str, float] = field(default_factory=dict)
    distractor_names: tuple[str, ...] = DISTRACTORS
    recipe: str = "reference"
    windows: bool = False
    point_threshold: float = 0.8
    min_area: int = 16
    still_threshold: float = 0.0
    vocabulary: Vocabulary = field(default_factory=Vocabulary)


class Pipeline:
    """From an image and a query to segments, by way of maps and points.

    :param clip: image and text towers.
    :param segmenter: points to masks; its image embedding is computed once per frame, and not at
        all when no label is present.
    """

    def __init__(
        self,
        clip: ImageTextEncoder,
        segmenter: PromptableSegmenter,
        settings: Settings = Settings(),
    ) -> None:
        self._clip, self._segmenter, self._settings = clip, segmenter, settings
        self._views = Views(settings.still_threshold)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that the network knows, where it does not know language at large."""
        return self._settings.vocabulary

    def run(
        self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted = Wanted()
    ) -> FrameResult:
        """Answer one frame; asked the same of it again, the same arrays, which are not to be
        changed.

        :param image_rgb: (H, W, 3) uint8 RGB.
        :param query: without labels, no network runs.
        :param wanted: outputs that nobody reads are not computed.
        :raises ImageError: when the image is not (H, W, 3) uint8, or too small.
        :raises DeviceError: when the memory does not suffice; the next frame may be smaller.
        """
        _check_image(image_rgb)
        return self.vocabulary.run_known(query, lambda known: self._run(image_rgb, known, wanted))

    def _run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """:meth:`run` of an image that can be used and labels that the network knows."""
        if not query.labels:
            return _nothing(
                query, image_rgb, token_grid(self._clip, image_rgb, self._settings.windows)
            )
        view = self._views.of(image_rgb)
        if view.answered and view.answered[:2] == (query, wanted):
            return replace(view.answered[2], stage_seconds={})
        with _memory_told(image_rgb, query):
            result = self._answer(view, query, wanted)
        view.answered = (query, wanted, result)
        return result

    def _answer(self, view: View, query: Query, wanted: Wanted) -> FrameResult:
        """:meth:`run` of at least one label and a view that may not have been answered so."""
        clock = Stages()
        scene = self._look(view, query, wanted, clock)
        absent = {i: reason for i, reason in enumerate(self._absent(scene, query)) if reason}
        segments: tuple[Segment, ...] = ()
        if wanted.segments:
            with clock.stage("points"):
                prompts = self._prompts(scene, query, skip=absent)
            segments = self._segments(view, query, scene, prompts, clock)
            found = {segment.label for segment in segments}
            for index in range(len(query.labels)):
                if index not in found:
                    absent.setdefault(index, "the segmenter found no mask for its points")
        return FrameResult(
            query=query,
            size_hw=scene.size_hw,
            similarity=scene.similarity,
            presence=scene.presence,
            probabilities=scene.probabilities,
            thresholds=scene.thresholds,
            segments=segments,
            absent=tuple(AbsentLabel(query.labels[i].name, absent[i]) for i in sorted(absent)),
            stage_seconds=clock.seconds,
            plain_similarity=scene.plain,
        )

    def _look(self, view: View, query: Query, wanted: Wanted, clock: Stages) -> _Scene:
        """Everything that CLIP says of the frame."""
        with clock.stage("text"):
            texts, distractors = self._texts(query)
        if view.tokens is None:
            with clock.stage("clip"):
                view.tokens, view.grid_hw = self._looked(view, self._clip.surgery_tokens)
        with clock.stage("maps"):
            scene = self._scene(view, view.tokens, texts, distractors, query)
        if wanted.plain_similarity:
            with clock.stage("plain clip"):
                raw = (self._plain(view) @ texts.T)[0, 1:].T.unflatten(-1, view.grid_hw)
                _, scene.plain = self._joined(raw.cpu().numpy(), scene.name_presence, query)
        return scene

    def _plain(self, view: View) -> Tensor:
        """(1, 1 + N, C) unit rows without surgery."""
        if view.plain is None:
            view.plain, _ = self._looked(view, self._clip.plain_tokens)
        return view.plain

    def _looked(self, view: View, encode: Encode) -> tuple[Tensor, tuple[int, int]]:
        """Tokens of a view and their grid."""
        return encode_image(self._clip, encode, view.image_rgb, self._settings.windows)

    def _texts(self, query: Query) -> tuple[Tensor, Tensor]:
        """Features of the names asked for, and of the distractors that are none of them."""
        names = names_of(query)
        asked = {name.casefold() for name in names}
        others = [n for n in self._settings.distractor_names if n.casefold() not in asked]
        if sum(len(label.parts) for label in query.labels) + len(others) < 2:
            others = ["", *others]  # a label alone differs from the empty string
        features = self._clip.text_features([*names, *others])
        return features[: len(names)], features[len(names) :]

    def _scene(
        self, view: View, tokens: Tensor, texts: Tensor, distractors: Tensor, query: Query
    ) -> _Scene:
        everything = torch.cat([texts, distractors])
        cosines = surgery_cosines(tokens, everything)[0, 1:, : len(texts)].T
        level = self._settings.presence_level
        if level.offset is None:
            # All distractors, whether asked for or not: what is asked must not move the level.
            # With the distractors left out, the empty string stands for them.
            distractors = self._clip.text_features(self._settings.distractor_names or ("",))
        presence = presence_score(tokens[0], texts, distractors, level)
        chance = zero_shot_probabilities(tokens[:, 0], everything)[0, : len(texts)]
        # All in one piece: on a GPU this is where the host waits.
        told = torch.cat([cosines, presence[:, None], chance[:, None]], dim=1).cpu().numpy()
        maps = told[:, :-2].reshape(-1, *view.grid_hw)
        parts, similarity = self._joined(maps, told[:, -2], query)
        return _Scene(
            size_hw=(view.image_rgb.shape[0], view.image_rgb.shape[1]),
            name_presence=told[:, -2],
            parts=parts,
            similarity=similarity,
            presence=per_label(per_part(told[:, -2], query, np.max), query, np.max),
            probabilities=per_label(per_part(told[:, -1], query, np.sum), query, np.sum),
            thresholds=np.array([self._threshold(one) for one in query.labels], np.float32),
        )

    def _joined(
        self, maps: NDArray[np.float32], presence: NDArray[np.float32], query: Query
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(names, h, w) maps to those of parts and of labels."""
        return join_maps(maps, presence, query, self._settings.presence_threshold)

    def _threshold(self, label: Label) -> float:
        """The raw-similarity threshold in use: the query's, the label's or that of all labels."""
        if label.threshold is not None:
            return label.threshold
        default = -1.0 if self._settings.threshold is None else self._settings.threshold
        return self._settings.label_thresholds.get(label.name.casefold(), default)

    def _absent(self, scene: _Scene, query: Query) -> Iterator[str]:
        """For each label the reason why it is not in the picture, or an empty string."""
        least = self._settings.presence_threshold
        for index in range(len(query.labels)):
            presence, threshold = scene.presence[index], scene.thresholds[index]
            highest = scene.similarity[index].max()
            if presence < least:
                yield f"its presence is {presence:.2f}, below the threshold of {least:.2f}"
            elif highest < threshold:
                yield (
                    f"no place reaches a similarity of {threshold:.3f}; the highest is "
                    f"{highest:.3f}"
                )
            elif np.ptp(scene.similarity[index]) < 1e-6:
                yield "its map is the same everywhere"
            else:
                yield ""

    def _prompts(
        self, scene: _Scene, query: Query, skip: dict[int, str]
    ) -> list[tuple[int, PointPrompts]]:
        """Label index and prompt of every mask to decode."""
        sizes = [len(label.parts) for label in query.labels]
        parts = thresholded(scene.parts, np.repeat(scene.thresholds, sizes))
        labels = thresholded(scene.similarity, scene.thresholds)
        return [
            (index, one)
            for index, own in enumerate(np.split(parts, np.cumsum(sizes)[:-1]))
            if index not in skip
            for one in self._points(labels[index], own, scene.size_hw)
        ]

    def _points(
        self,
        whole: NDArray[np.float32],
        parts: NDArray[np.float32],
        size_hw: tuple[int, int],
    ) -> Iterator[PointPrompts]:
        """Prompt sets of one label from its (h, w) map and its parts' (P, h, w)."""
        threshold, grid_hw = self._settings.point_threshold, parts.shape[1:]
        flat = parts.reshape(len(parts), -1)
        if self._settings.recipe == "instances":
            sets = instance_points(whole.reshape(-1), grid_hw, size_hw)
        elif len(parts) > 1:
            sets = [combined_points(list(flat), grid_hw, size_hw, threshold)]
        else:
            sets = [reference_points(flat[0], grid_hw, size_hw, threshold)]
        for xy, labels in sets:
            if labels.any():
                yield PointPrompts(xy, labels.astype(np.bool_))

    def _segments(
        self,
        view: View,
        query: Query,
        scene: _Scene,
        prompts: Sequence[tuple[int, PointPrompts]],
        clock: Stages,
    ) -> tuple[Segment, ...]:
        """Decode all prompts from one embedding; none, and no embedding, without prompts."""
        if not prompts:
            return ()
        embedding = view.embedding
        if embedding is None:
            with clock.stage("sam encoder"):
                embedding = view.embedding = self._segmenter.encode(view.image_rgb)
        with clock.stage("sam decoder"):
            offered = self._segmenter.decode(embedding, [points for _, points in prompts])
            choices = self._chosen(offered, [label for label, _ in prompts], scene, embedding)
            if not choices:
                return ()
            logits = torch.stack([choice.logits for choice in choices])
            masks = self._segmenter.full_size(embedding, logits)
        found: list[Segment] = []
        with clock.stage("masks"):
            shown = {prompts[choice.prompt][0] for choice in choices}
            maps = {label: resize_map(scene.similarity[label], scene.size_hw) for label in shown}
            for choice, mask in zip(choices, masks, strict=True):
                label, points = prompts[choice.prompt]
                mask = remove_specks(mask, self._settings.min_area)
                box = mask_box(mask)
                if box is None:
                    continue
                similarity, share = agreement(mask, maps[label])
                presence = float(scene.presence[label])
                found.append(
                    Segment(
                        id=len(found) + 1,
                        label=label,
                        name=query.labels[label].name,
                        # Right only if the label is there and its mask good: a product.
                        score=presence * self._right(choice),
                        presence=presence,
                        similarity=similarity,
                        agreement=share,
                        box=box,
                        mask=crop(mask, box),
                        points=points,
                    )
                )
        return tuple(found)

    def _right(self, choice: Choice) -> float:
        """How likely the mask is right if its label is there, 0 to 1; SAM's own estimate of IoU
        where nothing better is known.
        """
        if self._settings.recipe == "instances":
            return probability_correct(choice.quality, choice.further)
        return min(max(choice.quality, 0.0), 1.0)

    def _chosen(
        self,
        offered: Sequence[MaskCandidates],
        labels: Sequence[int],
        scene: _Scene,
        embedding: ImageEmbedding,
    ) -> list[Choice]:
        """The candidates that become segments."""
        if self._settings.recipe == "instances":
            there = sorted(set(labels))
            maps, places = scene.similarity[there], [there.index(label) for label in labels]
            return choose_objects(rank_candidates(offered, places, maps, embedding.inner_hw))
        return [
            Choice(prompt, *best_candidate(candidates))
            for prompt, candidates in enumerate(offered)
        ]


@dataclass
class _Scene:
    """What CLIP says of a frame: per name, per part of a label, and per label."""

    size_hw: tuple[int, int]
    name_presence: NDArray[np.float32]
    parts: NDArray[np.float32]
    similarity: NDArray[np.float32]
    presence: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    plain: NDArray[np.float32] | None = None


@contextmanager
def _memory_told(image_rgb: NDArray[np.uint8], query: Query) -> Iterator[None]:
    """Say in a sentence that memory ran out; what was taken for the frame is given back."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On the CPU torch raises a plain RuntimeError.
        if type(error) is RuntimeError and "can't allocate memory" not in str(error):
            raise
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        height, width = image_rgb.shape[:2]
        raise DeviceError(
            f"out of memory on an image of {width} x {height} with {len(query.labels)} labels, "
            "which is dropped; set clip_windows to false or precision to bfloat16, take a smaller "
            "clip_input_size or network, or ask for fewer labels"
        ) from error


def _check_image(image_rgb: NDArray[np.uint8]) -> None:
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise ImageError(
            f"an image wants (H, W, 3) uint8 RGB, got {image_rgb.shape} {image_rgb.dtype}"
        )
    if min(image_rgb.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"an image of {image_rgb.shape[1]} x {image_rgb.shape[0]} pixels is too small; at "
            f"least {MIN_SIDE} each way are wanted"
        )


def _nothing(query: Query, image_rgb: NDArray[np.uint8], grid_hw: tuple[int, int]) -> FrameResult:
    """The answer to an empty query."""
    none = np.zeros(0, np.float32)
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    return FrameResult(query, size_hw, np.zeros((0, *grid_hw), np.float32), none, none, none)
