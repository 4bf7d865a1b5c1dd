"""Protocols of published figures, against a literal implementation in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import literal_protocols as literal
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from pages import ROOT, rows
from PIL import Image
from pretended_gpu import PretendedGpu
from small_networks import PATCH, small_clip

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.presence import DISTRACTORS
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.published.confusion import confusion, segmentation_figures
from clip_surgery_ros.evaluation.published.datasets import LabelledPictures, voc_pictures
from clip_surgery_ros.evaluation.published.explainability import (
    THRESHOLDS,
    MapSums,
    add_picture,
    map_figures,
)
from clip_surgery_ros.evaluation.published.measure import measure
from clip_surgery_ros.evaluation.published.prediction import (
    Words,
    class_map,
    decide,
    image_tokens,
    resized,
    window_corners,
)
from clip_surgery_ros.evaluation.published.protocols import (
    DATASETS,
    PAPERS,
    PLAIN,
    PROTOCOLS,
    SURGERY,
    Protocol,
    Rules,
    find_protocol,
)
from clip_surgery_ros.networks.clip.backend import ClipBackend

SIZES_HW = ((90, 120), (100, 70), (60, 167))
"""Resized to a short side of 336, widths and heights that are no multiples of the patch."""
SETTINGS: Mapping[tuple[str, str], tuple[int, int, int, float, float, float]] = {
    ("voc20", "sclip"): (336, 224, 112, 40, 0, 0),
    ("voc21", "sclip"): (336, 224, 112, 65, 0.1, 0.1),
    ("context59", "sclip"): (336, 224, 112, 40, 0, 0),
    ("context60", "sclip"): (336, 224, 112, 50, 0.1, 0),
    ("coco-object", "sclip"): (336, 224, 112, 50, 0.1, 0),
    ("coco-stuff", "sclip"): (448, 224, 112, 40, 0, 0),
    ("voc20", "naclip"): (336, 0, 0, 40, 0, 0),
    ("voc21", "naclip"): (336, 0, 0, 40, 0.1, 0),
    ("context59", "naclip"): (336, 224, 112, 40, 0, 0),
    ("context60", "naclip"): (336, 224, 112, 40, 0.1, 0),
    ("coco-object", "naclip"): (336, 224, 112, 40, 0.1, 0),
    ("coco-stuff", "naclip"): (336, 224, 112, 40, 0, 0),
    ("voc20", "clearclip"): (448, 448, 224, 50, 0, 0),
    ("voc21", "clearclip"): (448, 448, 224, 50, 0.5, 0),
    ("context59", "clearclip"): (448, 448, 224, 50, 0, 0),
    ("context60", "clearclip"): (448, 448, 224, 50, 0.15, 0),
    ("coco-object", "clearclip"): (448, 448, 224, 50, 0.4, 0),
    ("coco-stuff", "clearclip"): (448, 448, 224, 50, 0, 0),
}
"""Short side, window, stride, scale, threshold and area of the authors' configurations."""


def noise(size_hw: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture of soft random blobs, which a random network sees differently in places."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size_hw[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture)


@pytest.fixture(scope="module")
def clip() -> ClipBackend:
    return ClipBackend(small_clip(), open_clip.SimpleTokenizer(), templates=("a {}",))


def numbers_of_names(protocol: Protocol) -> list[int]:
    return [index for index, names in enumerate(protocol.classes) for _ in names]


def unit_text(clip: ClipBackend, protocol: Protocol) -> NDArray[np.float64]:
    names = [name for names in protocol.classes for name in names]
    return clip.text_features(names).double().numpy()


def methods(clip: ClipBackend) -> dict[str, literal.Tokens]:
    return {PLAIN: clip.plain_tokens, SURGERY: clip.surgery_tokens}


@pytest.mark.parametrize("which", SETTINGS)
def test_settings_are_those_of_the_authors(which: tuple[str, str]) -> None:
    rules = PROTOCOLS[which].rules
    found = (rules.short_side, rules.window, rules.stride, rules.scale)
    assert (*found, rules.least_probability, rules.least_share) == SETTINGS[which]


@pytest.mark.parametrize(
    ("which", "size_hw"),
    [
        (("voc21", "sclip"), SIZES_HW[0]),
        (("voc21", "sclip"), SIZES_HW[1]),
        (("voc20", "naclip"), SIZES_HW[2]),
        (("voc20", "clearclip"), SIZES_HW[0]),
        (("context60", "clearclip"), SIZES_HW[1]),
    ],
)
def test_map_of_classes_is_that_of_the_literal_rules(
    clip: ClipBackend, which: tuple[str, str], size_hw: tuple[int, int]
) -> None:
    protocol, image = PROTOCOLS[which], noise(size_hw)
    side, window, stride, scale, threshold, area = SETTINGS[which]
    words, text = Words.of_classes(clip, protocol.classes), unit_text(clip, protocol)
    for method, tokens in methods(clip).items():
        cosines = literal.window_cosines(tokens, text, image, PATCH, side, window, stride)
        expected, clear = literal.classes_of_pixels(
            cosines, numbers_of_names(protocol), scale, threshold, area
        )
        found = class_map(clip, image_tokens(clip, method), words, protocol.rules, image)
        assert found.shape == size_hw
        sure = clear > 1e-5
        assert sure.mean() > 0.9
        np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("dataset", ["context59", "coco-stuff"])
def test_squashed_map_of_classes_is_that_of_the_literal_rules(
    clip: ClipBackend, dataset: str
) -> None:
    protocol, image = PROTOCOLS[dataset, "clip-surgery"], noise((75, 110), 3)
    words, text = Words.of_classes(clip, protocol.classes), unit_text(clip, protocol)
    for method, tokens in methods(clip).items():
        cosines = literal.squashed_cosines(tokens, text, image, PATCH, clip.input_size)
        ordered = np.sort(cosines, axis=0)
        sure = ordered[-1] - ordered[-2] > 1e-6
        found = class_map(clip, image_tokens(clip, method), words, protocol.rules, image)
        assert sure.mean() > 0.98 and len(np.unique(found)) > 1
        np.testing.assert_array_equal(found[sure], cosines.argmax(0)[sure])


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((375, 500), (336, 448)),
        ((500, 333), (505, 336)),
        ((333, 500), (336, 505)),
        ((100, 1000), (205, 2048)),
        ((1200, 1200), (336, 336)),
    ],
)
def test_picture_is_resized_as_mmcv_resizes(
    size_hw: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = noise(size_hw)
    found = resized(image, 336)
    assert found.shape == (*expected, 3)
    exact = literal.bilinear(image.transpose(2, 0, 1).astype(np.float64), expected)
    assert np.abs(found - exact.transpose(1, 2, 0)).max() < 1.01  # OpenCV rounds its weights


@pytest.mark.parametrize("size_hw", [(336, 448), (336, 505), (224, 224), (336, 337), (205, 2048)])
def test_windows_cover_the_picture_and_the_last_end_at_its_border(
    size_hw: tuple[int, int],
) -> None:
    covered = np.zeros(size_hw, int)
    corners = window_corners(size_hw, 224, 112)
    for top, left in corners:
        assert top >= 0 and left >= 0
        covered[top : top + 224, left : left + 224] += 1
        assert left + 224 <= size_hw[1] and (top + 224 <= size_hw[0] or size_hw[0] < 224)
    assert covered.min() >= 1
    assert len(corners) == len(set(corners))


def test_highest_of_several_names_counts_after_the_softmax_over_all_names() -> None:
    # Two names of class 1 share its probability: 0.3 each, less than the 0.4 of class 0.
    cosines = torch.log(torch.tensor([0.4, 0.3, 0.3])).reshape(3, 1, 1)
    parts = ((0, 1), (1, 3))
    rules = Rules(("{}",), scale=1.0)
    assert decide(cosines, parts, rules).item() == 0
    cosines = torch.log(torch.tensor([0.3, 0.1, 0.6])).reshape(3, 1, 1)
    assert decide(cosines, parts, rules).item() == 1


def test_low_probability_is_background_and_small_foreground_is_none() -> None:
    # Ten pixels in a row: class 1 in eight of them, class 2 in one, background in one.
    table = np.full((3, 1, 10), 0.1)
    table[1, 0, :8], table[2, 0, 8], table[0, 0, 9] = 0.8, 0.8, 0.8
    table[0, 0, 8] = 0.05
    table[:, 0, 0] = (0.3, 0.36, 0.34)
    cosines = torch.log(torch.tensor(table))
    parts = ((0, 1), (1, 2), (2, 3))
    plain = decide(cosines, parts, Rules(("{}",), scale=1.0))
    assert plain.tolist() == [[1, 1, 1, 1, 1, 1, 1, 1, 2, 0]]
    unsure = decide(cosines, parts, Rules(("{}",), scale=1.0, least_probability=0.5))
    assert unsure.tolist() == [[0, 1, 1, 1, 1, 1, 1, 1, 2, 0]]
    # One of nine foreground pixels is 11.1 %.
    large = decide(cosines, parts, Rules(("{}",), scale=1.0, least_share=0.12))
    assert large.tolist() == [[1, 1, 1, 1, 1, 1, 1, 1, 1, 0]]
    kept = decide(cosines, parts, Rules(("{}",), scale=1.0, least_share=0.11))
    assert kept.tolist() == plain.tolist()


def test_miou_is_of_all_pixels_together_without_ignored_ones() -> None:
    # Class 0 fills a large picture and is half right there; a small picture is all right.
    large, small = np.zeros((10, 10), np.uint8), np.zeros((1, 2), np.uint8)
    large[0] = 255
    found = np.zeros((10, 10), np.int64)
    found[:5] = 2
    small[0, 1] = 1
    pairs = [(large, found), (small, small.astype(np.int64))]
    matrix = sum(confusion(truth, guess, 4) for truth, guess in pairs)
    assert isinstance(matrix, np.ndarray)
    figures = segmentation_figures(matrix)
    # 90 pixels of class 0 and one more; 50 + 1 are right. Class 1: right. Class 2: never true.
    assert figures.ious[:3] == pytest.approx((51 / 91, 1.0, 0.0))
    assert np.isnan(figures.ious[3])
    assert figures.miou == pytest.approx((51 / 91 + 1 + 0) / 3)
    assert figures.miou == pytest.approx(literal.mean_iou(pairs, 4))
    assert figures.accuracy == pytest.approx(52 / 92)
    assert figures.class_accuracy == pytest.approx((51 / 91 + 1) / 2)


def test_figures_of_random_maps_are_the_literal_ones() -> None:
    rng = np.random.default_rng(1)
    pairs = []
    for height, width in ((7, 9), (12, 5), (20, 21)):
        truth = rng.choice([0, 1, 2, 4, 255], (height, width)).astype(np.uint8)
        pairs.append((truth, rng.choice([0, 1, 2, 3], (height, width))))
    matrix = np.sum([confusion(truth, found, 6) for truth, found in pairs], axis=0)
    assert segmentation_figures(matrix).miou == pytest.approx(literal.mean_iou(pairs, 6))


def test_explanations_are_the_literal_ones() -> None:
    rng = np.random.default_rng(2)
    pairs, sums = [], MapSums.empty(5)
    for height, width in ((6, 8), (15, 4), (9, 9), (3, 50)):
        truth = rng.choice([0, 1, 3, 255], (height, width)).astype(np.uint8)
        noise_of = {index: rng.random((height, width)) for index in (1, 3)}
        maps = {
            index: np.round(0.5 * noise_of[index] + 0.4 * (truth == index), 2).astype(np.float32)
            for index in (1, 3)
        }
        pairs.append((truth, maps))
        add_picture(sums, truth, lambda number, maps=maps: maps[number + 1])  # type: ignore[misc]
    figures = map_figures(sums)
    expected = literal.explanation(pairs, [step / 100 for step in range(1, 100)])
    assert figures.miou == pytest.approx(expected["mIoU"])
    assert figures.threshold == pytest.approx(expected["threshold"])
    assert figures.label_miou == pytest.approx(expected["mIoU of labels"])
    assert figures.contrast == pytest.approx(expected["mSC"], abs=1e-6)
    assert figures.label_contrast == pytest.approx(expected["mSC of labels"], abs=1e-6)
    assert figures.threshold in THRESHOLDS
    seen = [index for index, iou in enumerate(figures.ious) if not np.isnan(iou)]
    assert seen == [0, 2]


def test_right_map_explains_all_and_opposite_map_nothing() -> None:
    truth = np.array([[0, 1], [1, 255]], np.uint8)
    for values, miou, contrast in ((truth == 1, 1.0, 1.0), (truth != 1, 0.0, -1.0)):
        sums = MapSums.empty(1)
        add_picture(sums, truth, lambda _, values=values: values.astype(np.float32))  # type: ignore[misc]
        figures = map_figures(sums)
        assert (figures.miou, figures.contrast) == (miou, contrast)


@pytest.mark.parametrize(
    ("dataset", "number"),
    [
        ("voc20", 20),
        ("voc21", 21),
        ("context59", 59),
        ("context60", 60),
        ("coco-object", 81),
        ("coco-stuff", 171),
    ],
)
def test_each_data_set_has_its_number_of_classes(dataset: str, number: int) -> None:
    found = [protocol for (name, _), protocol in PROTOCOLS.items() if name == dataset]
    assert found and all(len(protocol.classes) == number for protocol in found)
    for protocol in found:
        assert all(name == name.strip() and name for names in protocol.classes for name in names)
        assert len(protocol.rules.templates) == (85 if protocol.paper == "clip-surgery" else 80)
        has_background = dataset in ("voc21", "context60", "coco-object")
        assert bool(protocol.rules.least_probability) == has_background


def test_context_has_the_names_that_clip_surgery_uses_as_distractors() -> None:
    names = [names[0] for names in find_protocol("context59").classes]
    assert ["aeroplane" if name == "airplane" else name for name in names] == list(DISTRACTORS)


def test_first_paper_with_rules_is_the_default_and_others_are_refused() -> None:
    assert find_protocol("coco-stuff").paper == "clip-surgery"
    assert find_protocol("coco-stuff", "clearclip").rules.short_side == 448
    with pytest.raises(ConfigError, match="no rules for voc20; those of sclip, naclip, clearclip"):
        find_protocol("voc20", "clip-surgery")


def test_page_has_the_published_figures() -> None:
    expected = []
    for dataset in DATASETS:
        for paper in PAPERS:
            if (dataset, paper) in PROTOCOLS:
                figures = PROTOCOLS[dataset, paper].published
                values = ", ".join(f"{figure.method} {figure.miou:.1f}" for figure in figures)
                source = figures[0].source if figures else ""
                expected.append([f"`{dataset}`", f"`{paper}`", values, source])
    assert rows(ROOT / "docs" / "real-networks.md", "published") == expected


def made_up_voc(root: Path, clip: ClipBackend, names: Sequence[str]) -> Path:
    """Write pictures whose truth is what the plain network finds, with wrong and ignored parts."""
    protocol = PROTOCOLS["voc20", "naclip"]
    text, pictures = unit_text(clip, protocol), {}
    for number, name in enumerate(names):
        image = noise(SIZES_HW[number % len(SIZES_HW)], 10 + number)
        cosines = literal.window_cosines(clip.plain_tokens, text, image, PATCH, 336, 0, 0)
        found, _ = literal.classes_of_pixels(cosines, numbers_of_names(protocol), 40)
        mask = (found + 1).astype(np.uint8)
        mask[:20, :30], mask[20:25], mask[-10:, :10] = 0, 255, 1 + number
        pictures[name] = (image, mask)
    return literal.write_pascal(root, pictures)


def literal_miou(clip: ClipBackend, root: Path, tokens: literal.Tokens) -> float:
    """Measure VOC20 by NACLIP's rules, literally."""
    protocol = PROTOCOLS["voc20", "naclip"]
    text, pairs = unit_text(clip, protocol), []
    for name in (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split():
        image = literal.read_jpeg(root / "JPEGImages" / f"{name}.jpg")
        with Image.open(root / "SegmentationClass" / f"{name}.png") as mask:
            truth = np.asarray(mask).astype(int)
        truth = np.where((truth == 0) | (truth == 255), 255, truth - 1)
        cosines = literal.window_cosines(tokens, text, image, PATCH, 336, 0, 0)
        found, _ = literal.classes_of_pixels(cosines, numbers_of_names(protocol), 40)
        pairs.append((truth, found))
    return literal.mean_iou(pairs, 20)


def test_miou_of_a_folder_is_the_literal_one(clip: ClipBackend, tmp_path: Path) -> None:
    root = made_up_voc(tmp_path, clip, ["b", "c", "a"])
    found = measure(clip, PROTOCOLS["voc20", "naclip"], voc_pictures(root, background=False), None)
    for method, tokens in methods(clip).items():
        assert found[method].miou == pytest.approx(literal_miou(clip, root, tokens), abs=1e-3)
    assert found[PLAIN].miou > found[SURGERY].miou + 0.1


def test_ended_run_goes_on_where_it_was(
    clip: ClipBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOLS["voc20", "naclip"]
    root, kept = made_up_voc(tmp_path / "voc", clip, ["a", "b", "c"]), tmp_path / "kept.npz"
    pictures = voc_pictures(root, background=False)
    whole = measure(clip, protocol, pictures)
    mask = root / "SegmentationClass" / "c.png"
    content = mask.read_bytes()
    mask.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"c\.png"):
        measure(clip, protocol, pictures, kept, keep_s=0)
    assert kept.exists()
    mask.write_bytes(content)
    (root / "JPEGImages" / "a.jpg").unlink()  # it is not read again
    # As text, because a class without pixels has NaN.
    assert repr(measure(clip, protocol, pictures, kept, keep_s=0)) == repr(whole)
    assert "goes on after 2 of 3 pictures" in capsys.readouterr().err
    assert not kept.exists()


@pytest.mark.parametrize("which", [("voc21", "sclip"), ("explain-voc", "clip-surgery")])
def test_figures_on_a_pretended_gpu_are_those_of_the_cpu(
    clip: ClipBackend, tmp_path: Path, which: tuple[str, str]
) -> None:
    pictures = voc_pictures(made_up_voc(tmp_path, clip, ["a", "b"]), background=True)
    expected = measure(clip, PROTOCOLS[which], pictures)
    with PretendedGpu():
        network, tokenizer = small_clip(), open_clip.SimpleTokenizer()
        on_gpu = ClipBackend(network, tokenizer, device="cuda:0", templates=("a {}",))
        found = measure(on_gpu, PROTOCOLS[which], pictures)
    for method in (PLAIN, SURGERY):
        assert found[method].miou == pytest.approx(expected[method].miou, abs=1e-4)
        assert found[method].miou > 0


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"nothing"])
def test_damaged_sums_are_begun_anew(
    clip: ClipBackend, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOLS["voc20", "naclip"]
    root, kept = made_up_voc(tmp_path / "voc", clip, ["a"]), tmp_path / "kept.npz"
    pictures: LabelledPictures = voc_pictures(root, background=False)
    kept.write_bytes(content)
    whole = measure(clip, protocol, pictures)
    assert repr(measure(clip, protocol, pictures, kept)) == repr(whole)
    assert "begins anew" in capsys.readouterr().err
