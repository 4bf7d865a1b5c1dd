"""Folders of VOC, PASCAL Context and COCO-Stuff, and the command that measures on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import literal_protocols as literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from ros.known_scene import recorded_scenes
from safetensors.torch import save_file
from torch.nn.functional import normalize

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.published.datasets import (
    LabelledPictures,
    coco_pictures,
    context_pictures,
    voc_pictures,
)
from clip_surgery_ros.evaluation.published.protocols import PROTOCOLS
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.vocabulary_table import TABLE, with_all_tokens
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.weights.state_dicts import load_state_dict
from clip_surgery_ros.world.objects import NAMES

MASK = np.array([[0, 1, 20], [255, 7, 0]], np.uint8)
PICTURE = np.full((2, 3, 3), 90, np.uint8)


def classes_of(pictures: LabelledPictures) -> dict[str, list[list[int]]]:
    return {picture.name: picture.classes.tolist() for picture in pictures.read()}


def coco_folder(root: Path, mask: NDArray, ending: str = "", masks: str = "val2017") -> Path:
    """Write one picture of COCO and its mask."""
    for folder in ("images/val2017", masks):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shape = (*mask.shape[:2], 3)
    Image.fromarray(np.full(shape, 90, np.uint8)).save(root / "images/val2017/000000000139.jpg")
    Image.fromarray(mask).save(root / masks / f"000000000139{ending}.png")
    return root


def test_voc_has_the_listed_pictures_with_background_or_without(tmp_path: Path) -> None:
    pictures = {"b": (PICTURE, MASK), "a": (PICTURE, MASK), "train": (PICTURE, MASK)}
    root = literal.write_pascal(tmp_path, pictures)
    (root / "ImageSets/Segmentation/val.txt").write_text("b\na\n")
    with_background = classes_of(voc_pictures(root, background=True))
    assert list(with_background) == ["b", "a"]
    assert with_background["a"] == [[0, 1, 20], [255, 7, 0]]
    without = classes_of(voc_pictures(root, background=False))
    assert without["b"] == [[255, 0, 19], [255, 6, 255]]


def test_context_has_its_59_classes(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 59]], np.uint8)
    root = literal.write_pascal(
        tmp_path,
        {"a": (PICTURE[:1], mask)},
        "SegmentationClassContext",
        "SegmentationContext",
    )
    assert classes_of(context_pictures(root, background=True)) == {"a": [[0, 1, 59]]}
    assert classes_of(context_pictures(root, background=False)) == {"a": [[255, 0, 58]]}


# In COCO-Stuff's own masks, ids are COCO's less 1: person, bicycle, street sign (unused: never),
# fire hydrant, stop sign, toothbrush, banner (the first of the stuff), wood (the last).
PUBLISHED = np.array([[0, 1, 10, 12, 89, 91, 181, 255]], np.uint8)
STUFF = [[0, 1, 10, 11, 79, 80, 170, 255]]
OBJECTS = [[1, 2, 11, 12, 80, 0, 0, 0]]
CONVERTED = np.array(STUFF, np.uint8)


@pytest.mark.parametrize(
    "masks", ["annotations/val2017", "stuffthingmaps_trainval2017/val2017", "val2017"]
)
@pytest.mark.parametrize(
    ("mask", "ending"), [(PUBLISHED, ""), (CONVERTED, "_labelTrainIds")], ids=["own", "converted"]
)
def test_coco_masks_are_read_as_published_or_converted(
    tmp_path: Path, masks: str, mask: NDArray, ending: str
) -> None:
    root = coco_folder(tmp_path, mask, ending, masks)
    assert classes_of(coco_pictures(root, None, stuff=True)) == {"000000000139": STUFF}
    assert classes_of(coco_pictures(root, None, stuff=False)) == {"000000000139": OBJECTS}


def test_coco_objects_are_read_as_groupvit_converts_them(tmp_path: Path) -> None:
    mask = np.array(OBJECTS, np.uint8)
    root = coco_folder(tmp_path, mask, "_instanceTrainIds")
    assert classes_of(coco_pictures(root, None, stuff=False)) == {"000000000139": OBJECTS}
    with pytest.raises(DatasetError, match="no masks of COCO-Stuff"):
        coco_pictures(root, None, stuff=True)


def test_masks_as_published_are_taken_before_converted_ones(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, PUBLISHED, "", "annotations/val2017")
    coco_folder(root, CONVERTED, "_labelTrainIds", "annotations/val2017")
    pictures = coco_pictures(root, None, stuff=True)
    assert len(pictures) == 1 and classes_of(pictures) == {"000000000139": STUFF}


def test_pictures_of_coco_can_be_in_another_folder(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, PUBLISHED)
    (root / "images/val2017").rename(tmp_path / "elsewhere")
    assert len(coco_pictures(root, tmp_path / "elsewhere", stuff=True)) == 1
    with pytest.raises(DatasetError, match=r"000000000139\.jpg does not exist, as 1 of 1"):
        coco_pictures(root, None, stuff=True)


Break = Callable[[Path], object]
WRONG_PARTS: list[tuple[Break, str]] = [
    (lambda root: (root / "ImageSets/Segmentation/val.txt").unlink(), r"val\.txt does not exist"),
    (lambda root: (root / "ImageSets/Segmentation/val.txt").write_text(" \n"), "names no picture"),
    (lambda root: (root / "JPEGImages/a.jpg").unlink(), r"a\.jpg does not exist, but .*val\.txt"),
    (lambda root: (root / "SegmentationClass/a.png").unlink(), r"a\.png does not exist"),
    (lambda root: save_mask(root, np.full((2, 3), 21, np.uint8)), "value 21.* from 0 to 20 and"),
    (lambda root: save_mask(root, np.zeros((2, 3, 3), np.uint8)), "one index of 8 bits"),
    (lambda root: save_mask(root, np.zeros((5, 5), np.uint8)), r"a\.jpg has 3 x 2 pixels.* 5 x 5"),
    (lambda root: (root / "SegmentationClass/a.png").write_bytes(b"x"), "not a picture"),
    (lambda root: (root / "JPEGImages/a.jpg").write_bytes(b"x"), r"a\.jpg"),
]


def save_mask(root: Path, mask: NDArray) -> None:
    Image.fromarray(mask).save(root / "SegmentationClass/a.png")


@pytest.mark.parametrize(("damage", "sentence"), WRONG_PARTS)
def test_wrong_part_of_voc_is_named(tmp_path: Path, damage: Break, sentence: str) -> None:
    root = literal.write_pascal(tmp_path, {"a": (PICTURE, MASK)})
    assert len(classes_of(voc_pictures(root, background=True))) == 1
    damage(root)
    with pytest.raises(ClipSurgeryError, match=sentence):
        classes_of(voc_pictures(root, background=True))


@pytest.mark.parametrize(
    ("value", "ending", "sentence"),
    [
        (11, "", "value 11, which is no class"),
        (182, "", "value 182, .* from 0 to 181"),
        (171, "_labelTrainIds", "value 171, .* from 0 to 170"),
        (81, "_instanceTrainIds", "value 81, .* from 0 to 80"),
    ],
)
def test_id_that_coco_does_not_have_is_an_error(
    tmp_path: Path, value: int, ending: str, sentence: str
) -> None:
    root = coco_folder(tmp_path, np.full((1, 2), value, np.uint8), ending)
    with pytest.raises(DatasetError, match=sentence):
        classes_of(coco_pictures(root, None, stuff=False))


def scenes(root: Path) -> Path:
    """Write generated scenes in the layout of PASCAL Context, with the classes of some objects."""
    pictures = {}
    for number, scene in enumerate(recorded_scenes(3)):
        mask = np.zeros(scene.image.shape[:2], np.uint8)
        mask[0] = 255
        for name, found in zip(scene.names, scene.masks, strict=True):
            mask[found] = 1 + NAMES.index(name) % 59
        height = 300 + 20 * number
        pictures[f"picture{number}"] = (scene.image[:height:2, ::2], mask[:height:2, ::2])
    return literal.write_pascal(root, pictures, "SegmentationClassContext", "SegmentationContext")


def truths(root: Path) -> list[tuple[NDArray, NDArray]]:
    """Return (picture, mask) of every picture."""
    return [
        (
            literal.read_jpeg(root / "JPEGImages" / f"{mask.stem}.jpg"),
            np.asarray(Image.open(mask)).astype(int),
        )
        for mask in sorted((root / "SegmentationClassContext").iterdir())
    ]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the demo's CLIP with random rows for all words.

    It knows few of the classes. The others have equal features, between which rounding decides.
    """
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    tensors, metadata = load_state_dict(demo_weights("clip_demo"))
    whole = with_all_tokens(tensors)
    rows = torch.randn(whole[TABLE].shape, generator=torch.Generator().manual_seed(0))
    save_file({**whole, TABLE: (0.3 * rows).half()}, path, metadata)
    return path


def options_of(clip_file: Path) -> list[str]:
    return ["--clip-model", "openai", "--clip-checkpoint", str(clip_file), "--device", "cpu"]


def squashed(clip: ClipBackend, tokens: literal.Tokens, text: NDArray, image: NDArray):  # type: ignore[no-untyped-def]
    return literal.squashed_cosines(
        tokens, text, image, clip.patch, clip.input_size, clip.traits.mean, clip.traits.std
    )


def test_command_prints_miou_beside_the_published_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip_file: Path
) -> None:
    root, output = scenes(tmp_path / "VOC2010"), tmp_path / "out"
    options = ["--protocol", "context59", "--voc", str(root), *options_of(clip_file)]
    assert main(["evaluate", *options, "--output", str(output)]) == 0
    clip = ClipBackend.from_file(clip_file)
    printed = capsys.readouterr().out
    report = json.loads((output / "protocol.json").read_text())
    names = [names[0] for names in PROTOCOLS["context59", "clip-surgery"].classes]
    text = clip.text_features(names).double().numpy()
    for method, tokens in (
        ("CLIP", clip.plain_tokens),
        ("CLIP Surgery", clip.surgery_tokens),
    ):
        pairs = [
            (
                np.where((mask == 0) | (mask == 255), 255, mask - 1),
                squashed(clip, tokens, text, image).argmax(0),
            )
            for image, mask in truths(root)
        ]
        found = report["figures"][method]["mIoU"]
        assert found == pytest.approx(literal.mean_iou(pairs, 59), abs=1e-3)
    assert f"| CLIP Surgery (v-v), here | {100 * found:.1f} |" in printed
    assert "| 29.3 | CLIP Surgery, arXiv 2304.05653, table 6: ViT-B/16 |" in printed
    assert "Published figures are of 5105 pictures, these of 3: not comparable." in printed
    assert report["pictures"] == 3 and report["published"][0]["miou"] == 29.3
    assert (output / "protocol.md").read_text().strip() in printed


def test_command_explains_labels_as_the_literal_rules(
    tmp_path: Path, clip_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = scenes(tmp_path / "VOC2010"), tmp_path / "out"
    options = ["--protocol", "explain-context", "--voc", str(root), *options_of(clip_file)]
    assert main(["evaluate", *options, "--output", str(output)]) == 0
    assert "CLIP Surgery (v-v), here" in capsys.readouterr().out
    report = json.loads((output / "protocol.json").read_text())
    clip = ClipBackend.from_file(clip_file)
    names = [names[0] for names in PROTOCOLS["explain-context", "clip-surgery"].classes]
    text = clip.text_features(names)
    pairs = []
    for image, mask in truths(root):
        pixels = clip.preprocess(image)
        tokens = normalize(clip.surgery_tokens(pixels), dim=-1)
        similarity = feature_surgery(tokens, text)[0, 1:].double().numpy()
        low, high = similarity.min(0), similarity.max(0)
        maps = ((similarity - low) / (high - low)).T.reshape(len(names), *clip.grid_hw(pixels))
        present = sorted(set(mask.ravel()) - {0, 255})
        resized = literal.bilinear(maps, mask.shape)
        pairs.append((mask, {index: resized[index - 1] for index in present}))
    expected = literal.explanation(pairs, [step / 100 for step in range(1, 100)])
    found = report["figures"]["CLIP Surgery"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-3 if name != "threshold" else 0.011)


REFUSED: list[tuple[list[str], str]] = [
    (["--protocol", "voc20"], "--protocol voc20 needs --voc DIR"),
    (["--protocol", "coco-stuff", "--voc", "DIR"], "--protocol coco-stuff needs --coco DIR"),
    (["--protocol", "voc20", "--voc", "DIR", "--coco", "DIR"], "and no --coco"),
    (["--protocol", "voc20", "--voc", "DIR", "--images", "DIR"], "--images belongs to --coco"),
    (["--protocol", "coco-stuff", "--coco", "FILE"], "not a file of instances"),
    (["--protocol", "voc20", "--voc", "DIR"], "val.txt does not exist"),
    (["--protocol", "context60", "--voc", "DIR"], "SegmentationContext/val.txt does not exist"),
    (["--protocol", "coco-stuff", "--coco", "DIR"], "no masks of COCO-Stuff"),
    (["--protocol", "voc20", "--paper", "clip-surgery", "--voc", "DIR"], "no rules for voc20"),
    (["--protocol", "voc20", "--voc", "DIR", "--templates", "single"], "leave --templates out"),
    (["--protocol", "voc20", "--voc", "DIR", "--absent", "3"], "--absent is another measurement"),
    (["--protocol", "voc20", "--voc", "DIR", "--sequences"], "--sequences is another measurement"),
    (["--paper", "sclip"], "add --protocol"),
    (["--protocol", "voc22"], "invalid choice: 'voc22'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_command_refuses_in_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "DIR").mkdir()
    (tmp_path / "FILE").write_text("{}")
    named = [str(tmp_path / part) if part in ("DIR", "FILE") else part for part in arguments]
    try:
        status = main(["evaluate", *named])
    except SystemExit as ended:
        status = int(str(ended.code))
    assert status == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("dataset", ["coco-stuff", "coco-object", "explain-coco"])
def test_command_reads_masks_of_coco_before_it_loads_networks(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = coco_folder(tmp_path, np.full((1, 2), 11, np.uint8))
    (root / "images/val2017").rename(tmp_path / "pictures")
    options = ["--coco", str(root), "--images", str(tmp_path / "pictures")]
    # A checkpoint that does not exist would be named if networks came first.
    assert main(["evaluate", "--protocol", dataset, *options, "--sam-model", "vit_b"]) == 2
    assert "000000000139.png has the value 11, which is no class" in capsys.readouterr().err
