"""The pipeline with fake networks whose results are known by construction."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.query import parse_query, query_of
from clip_surgery_ros.core.recipes import RECIPES, Recipe
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import PointPrompts, Query, Wanted
from clip_surgery_ros.core.windows import encode_image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}
NAMES = list(COLOURS)
GRID = 8


class ColourClip:
    """A fake CLIP for colours: a token is the colour of its cell, CLS the set of colours."""

    def __init__(self) -> None:
        self.images = 0

    def preprocess(self, image_rgb: NDArray[np.uint8]) -> Tensor:
        rows = np.linspace(0, image_rgb.shape[0] - 1, GRID).astype(int)
        columns = np.linspace(0, image_rgb.shape[1] - 1, GRID).astype(int)
        cells = image_rgb[rows][:, columns]
        return torch.from_numpy(cells.copy()).permute(2, 0, 1)[None]

    def grid_hw(self, pixel_values: Tensor) -> tuple[int, int]:
        return GRID, GRID

    def surgery_tokens(self, pixel_values: Tensor) -> Tensor:
        self.images += 1
        cells = pixel_values[0].permute(1, 2, 0).reshape(-1, 3).tolist()
        index = [list(COLOURS.values()).index(tuple(cell)) for cell in cells]
        tokens = torch.eye(len(NAMES))[index]
        cls = (tokens.sum(dim=0) > 0).float()
        return torch.cat([cls[None], tokens])[None]

    def plain_tokens(self, pixel_values: Tensor) -> Tensor:
        return self.surgery_tokens(pixel_values)

    def image_tokens(
        self, image_rgb: NDArray[np.uint8], windows: bool, surgery: bool = True
    ) -> tuple[Tensor, tuple[int, int]]:
        return encode_image(self, self.surgery_tokens, image_rgb, windows)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        rows = [
            torch.eye(len(NAMES))[NAMES.index(t)] if t in NAMES else _unknown_word(t)
            for t in texts
        ]
        return F.normalize(torch.stack(rows), dim=-1)


def _unknown_word(text: str) -> Tensor:
    """Return the feature of an unknown word: equally similar to all colours."""
    return torch.ones(len(NAMES)) + 0.01 * len(text)


class RegionSegmenter:
    """A fake SAM: the mask is the region of one colour around the last positive point."""

    def __init__(self) -> None:
        self.encoded = 0
        self.prompts: list[PointPrompts] = []

    def encode(self, image_rgb: NDArray[np.uint8]) -> ImageEmbedding:
        self.encoded += 1
        return ImageEmbedding(image_rgb, image_rgb.shape[:2], image_rgb.shape[:2])

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        self.prompts += prompts
        return [self._candidates(embedding.features, prompt) for prompt in prompts]

    def _candidates(self, image: NDArray[np.uint8], prompt: PointPrompts) -> MaskCandidates:
        x, y = prompt.xy[prompt.positive][-1]
        _, regions = cv2.connectedComponents((image == image[y, x]).all(axis=-1).astype(np.uint8))
        region = regions == regions[y, x]
        masks = np.stack([~region, region, np.zeros_like(region)])
        scores = np.array([0.1, 0.9, 0.5], np.float32)
        return MaskCandidates(scores, torch.from_numpy(masks.astype(np.float32)) - 0.5)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        return (logits > 0).numpy()


@pytest.fixture
def image() -> NDArray[np.uint8]:
    """Grey, with a red block on the left and a green one at the lower right."""
    picture = np.full((80, 120, 3), 90, np.uint8)
    picture[10:50, 10:50] = COLOURS["red"]
    picture[40:75, 70:110] = COLOURS["green"]
    return picture


LEVEL = PresenceLevel(scale=40.0, offset=0.3)


def pipeline(clip: ColourClip, segmenter: RegionSegmenter, **settings: object) -> Pipeline:
    values = {"presence_level": LEVEL, "distractor_names": ("grey",), **settings}
    return Pipeline(clip, segmenter, Settings(**values))


def test_present_labels_have_their_own_masks(image: NDArray[np.uint8]) -> None:
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter).run(image, parse_query("red; green", 3))
    assert [s.name for s in result.segments] == ["red", "green"]
    assert [s.id for s in result.segments] == [1, 2]
    assert segmenter.encoded == 1
    red = result.segments[0]
    assert (red.box.x, red.box.y, red.box.width, red.box.height) == (10, 10, 40, 40)
    assert red.mask.all()
    assert red.score == pytest.approx(red.presence * 0.9)
    assert red.agreement > 0.7
    assert result.query.sequence == 3


def test_appearance_is_the_mean_of_the_tokens_under_the_mask(image: NDArray[np.uint8]) -> None:
    image[30:50, 30:50] = COLOURS["blue"]  # cells of both colours are under the mask of red
    runner = pipeline(ColourClip(), RegionSegmenter(), presence_threshold=0.0)
    query = parse_query("red; green")
    segments = runner.run(image, query, Wanted(appearance=True)).segments
    # A cell is 10 x 15 pixels, and shows the colour of one of its pixels.
    colours = image[np.linspace(0, 79, GRID).astype(int)][:, np.linspace(0, 119, GRID).astype(int)]
    assert [segment.name for segment in segments] == ["red", "green"]
    for segment in segments:
        sums = np.zeros(len(NAMES))
        for row, column in np.argwhere(segment.mask):
            cell = (row + segment.box.y) // 10, (column + segment.box.x) // 15
            sums[list(COLOURS.values()).index(tuple(colours[cell]))] += 1
        assert np.count_nonzero(sums) > 1
        assert segment.appearance == pytest.approx(sums / np.linalg.norm(sums), abs=1e-5)
    assert runner.run(image, query).segments[0].appearance is None


def test_absent_label_has_a_reason_and_no_prompt(
    image: NDArray[np.uint8],
) -> None:
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter).run(image, parse_query("red; blue"))
    assert [s.name for s in result.segments] == ["red"]
    assert [(a.name, a.reason[:15]) for a in result.absent] == [("blue", "its presence is")]
    assert len(segmenter.prompts) == 1


def test_absence_is_decided_without_distractors_and_fitted_level(
    image: NDArray[np.uint8],
) -> None:
    result = pipeline(
        ColourClip(), RegionSegmenter(), distractor_names=(), presence_level=PresenceLevel(40.0)
    ).run(image, parse_query("red; blue"))
    # The image's cosine is 0 with blue and 0.87 with the empty string, which gives the level.
    assert "blue" in [a.name for a in result.absent]
    assert result.presence[1] == pytest.approx(0.0, abs=1e-6)


def test_sam_does_not_run_without_present_labels(image: NDArray[np.uint8]) -> None:
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter).run(image, parse_query("blue"))
    assert result.segments == ()
    assert segmenter.encoded == 0


def test_label_with_its_map_below_the_threshold_is_absent(image: NDArray[np.uint8]) -> None:
    query = query_of(["red", "green"], [0.99, -1.0])
    clip, segmenter = ColourClip(), RegionSegmenter()
    highest = pipeline(clip, segmenter).run(image, query).similarity[0].max()
    strict = query_of(["red", "green"], [min(1.0, float(highest) + 0.01), -1.0])
    result = pipeline(clip, segmenter).run(image, strict)
    assert [s.name for s in result.segments] == ["green"]
    assert "no part of the image reaches" in result.absent[0].reason


def test_label_with_a_constant_map_is_absent(image: NDArray[np.uint8]) -> None:
    grey = np.full_like(image, 90)
    result = pipeline(ColourClip(), RegionSegmenter(), presence_threshold=0.0).run(
        grey, parse_query("red; green")
    )
    assert result.segments == ()
    assert {a.reason for a in result.absent} == {"its map is the same everywhere"}


def test_single_label_has_a_map(image: NDArray[np.uint8]) -> None:
    for distractors in (("grey",), ()):
        result = pipeline(
            ColourClip(), RegionSegmenter(), distractor_names=distractors, presence_threshold=0.0
        ).run(image, parse_query("red"))
        row, column = np.unravel_index(result.similarity[0].argmax(), (GRID, GRID))
        assert (row, column) == (1, 1)  # the first cell on the red block
        assert np.ptp(result.similarity[0]) > 0.1


def test_label_of_two_parts_is_one_prompt_and_one_segment(image: NDArray[np.uint8]) -> None:
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter).run(image, parse_query("red+green; blue"))
    (prompt,) = segmenter.prompts
    positive = [tuple(image[y, x]) for x, y in prompt.xy[prompt.positive]]
    assert {COLOURS["red"], COLOURS["green"]} <= set(positive)
    assert [s.name for s in result.segments] == ["red+green"]
    assert result.similarity.shape == (2, GRID, GRID)


def test_empty_query_runs_no_network(image: NDArray[np.uint8]) -> None:
    clip, segmenter = ColourClip(), RegionSegmenter()
    result = pipeline(clip, segmenter).run(image, Query())
    assert (clip.images, segmenter.encoded) == (0, 0)
    assert result.segments == result.absent == ()


def test_sam_does_not_run_when_only_maps_are_wanted(image: NDArray[np.uint8]) -> None:
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter).run(
        image, parse_query("red; blue"), Wanted(segments=False)
    )
    assert segmenter.encoded == 0
    assert result.similarity.shape == (2, GRID, GRID)
    assert [a.name for a in result.absent] == ["blue"]


def test_two_objects_of_a_label_are_two_segments(image: NDArray[np.uint8]) -> None:
    image[10:50, 10:50] = 90
    image[0:40, 0:60] = COLOURS["red"]
    image[50:80, 75:120] = COLOURS["red"]
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter, recipe=RECIPES["instances"]).run(
        image, parse_query("red")
    )
    assert all(len(prompt.xy) == 1 for prompt in segmenter.prompts)
    assert [s.name for s in result.segments] == ["red", "red"]


def test_recipe_combines_choices_of_points_masks_and_score(image: NDArray[np.uint8]) -> None:
    recipe = Recipe("peaks", "best_quality", "quality", supports_windows=False)
    segmenter = RegionSegmenter()
    result = pipeline(ColourClip(), segmenter, recipe=recipe).run(image, parse_query("red"))
    assert len(segmenter.prompts) == len(result.segments) > 0
    for segment in result.segments:
        assert segment.score == pytest.approx(segment.presence * 0.9)


def test_segments_below_the_minimal_area_are_absent_with_a_reason(
    image: NDArray[np.uint8],
) -> None:
    result = pipeline(ColourClip(), RegionSegmenter(), min_area=50_000).run(
        image, parse_query("red")
    )
    assert result.segments == ()
    assert "no mask" in result.absent[0].reason


@pytest.mark.parametrize(
    "broken",
    [
        np.zeros((80, 120), np.uint8),
        np.zeros((80, 120, 4), np.uint8),
        np.zeros((80, 120, 3), np.float32),
        np.zeros((0, 120, 3), np.uint8),
        np.zeros((80, 1, 3), np.uint8),
    ],
)
def test_invalid_image_is_rejected(broken: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError):
        pipeline(ColourClip(), RegionSegmenter()).run(broken, parse_query("red"))


def test_stage_times_are_in_the_order_of_the_stages(image: NDArray[np.uint8]) -> None:
    result = pipeline(ColourClip(), RegionSegmenter()).run(image, parse_query("red"))
    stages = ["text", "clip", "maps", "points", "sam encoder", "sam decoder", "masks"]
    assert list(result.stage_seconds) == stages
    assert all(seconds >= 0 for seconds in result.stage_seconds.values())


def test_threshold_is_that_of_query_then_label_then_default(
    image: NDArray[np.uint8],
) -> None:
    settings = {"threshold": 0.1, "label_thresholds": {"red": 0.2, "green": 0.3}}
    query = query_of(["red", "green", "blue"], [0.4, float("nan"), float("nan")])
    result = pipeline(ColourClip(), RegionSegmenter(), **settings).run(image, query)
    assert result.thresholds == pytest.approx([0.4, 0.3, 0.1])
    without_query_threshold = pipeline(ColourClip(), RegionSegmenter(), **settings).run(
        image, query_of(["red"])
    )
    assert without_query_threshold.thresholds == pytest.approx([0.2])


def test_map_of_synonyms_is_high_wherever_one_of_them_is(image: NDArray[np.uint8]) -> None:
    query = query_of(["red|green", "blue"])
    result = pipeline(ColourClip(), RegionSegmenter()).run(image, query)
    cells = ColourClip().surgery_tokens(ColourClip().preprocess(image))[0, 1:].numpy() > 0
    red, green = cells.T.reshape(-1, GRID, GRID)[:2]
    both = result.similarity[0]
    assert red.any() and green.any()
    assert both[red] == pytest.approx(float(both[red][0]))
    assert both[green] == pytest.approx(float(both[red][0]), abs=1e-5)
    assert both[red | green].min() > both[~(red | green)].max()
    assert result.presence[0] > 0.5


@pytest.mark.parametrize("recipe", ["instances", "reference"])
@pytest.mark.parametrize("text", ["red|blue", "blue|red"])
def test_absent_synonym_does_not_change_the_segment(
    image: NDArray[np.uint8], recipe: str, text: str
) -> None:
    """The query also has the absent colour alone, so that both queries compare the same names."""
    alone, together = (
        pipeline(ColourClip(), RegionSegmenter(), recipe=RECIPES[recipe]).run(
            image, query_of([label, "blue"])
        )
        for label in ("red", text)
    )
    assert together.presence[0] == alone.presence[0]
    assert together.segments[0].score == pytest.approx(alone.segments[0].score, abs=0.02)
    assert (together.segments[0].mask == alone.segments[0].mask).all()


def test_absent_part_does_not_lower_the_map_of_a_present_part(
    image: NDArray[np.uint8],
) -> None:
    both = pipeline(ColourClip(), RegionSegmenter(), recipe=RECIPES["instances"]).run(
        image, query_of(["red+blue", "red", "blue"])
    )
    assert both.similarity[0] == pytest.approx(both.similarity[1], abs=1e-6)
    assert [s.name for s in both.segments] == ["red+blue", "red"]


def test_absent_label_does_not_change_scores_of_present_ones(image: NDArray[np.uint8]) -> None:
    """Scaled to [0, 1], the map of an absent label would be as high as any other."""

    def scores(names: list[str]) -> list[float]:
        result = pipeline(ColourClip(), RegionSegmenter(), recipe=RECIPES["instances"]).run(
            image, query_of(names)
        )
        return [segment.score for segment in result.segments]

    assert scores(["red", "green", "blue"]) == pytest.approx(scores(["red", "green"]), abs=0.01)


def test_query_does_not_change_the_level_of_distractors(
    image: NDArray[np.uint8],
) -> None:
    """Without a fitted level; the second query also has every distractor."""
    distractors = ("grey", "blue", "a", "bb", "ccc")
    settings = {"distractor_names": distractors, "presence_level": PresenceLevel(40.0)}
    presences = [
        pipeline(ColourClip(), RegionSegmenter(), **settings).run(image, query_of(names)).presence
        for names in (["red"], ["red", *distractors])
    ]
    assert presences[0][0] == pytest.approx(presences[1][0], abs=1e-6)


def test_maps_are_cosines_for_every_query(image: NDArray[np.uint8]) -> None:
    """With the weights of feature surgery across labels, these maps would exceed 1."""
    for absent in ([], ["blue"], ["x" * length for length in range(1, 60)]):
        result = pipeline(ColourClip(), RegionSegmenter()).run(
            image, query_of(["red", "green", *absent])
        )
        assert np.abs(result.similarity).max() <= 1 + 1e-6
        assert {segment.name for segment in result.segments} >= {"red", "green"}
