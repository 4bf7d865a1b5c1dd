"""COCO and VOC folders: orientation of photographs, and one error message for bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.coco import coco_examples
from clip_surgery_ros.evaluation.voc import voc_examples
from clip_surgery_ros.pictures.files import read_image
from clip_surgery_ros.tools.cli import main

STORED_HW = (40, 100)
ORIENTATIONS = range(1, 9)
"""Exif orientations; from 5 on, width and height are exchanged."""
ANNOTATED = [(orientation, False) for orientation in ORIENTATIONS] + [
    (orientation, True) for orientation in (1, 5, 6, 7, 8)
]
"""Orientation, and whether the annotation is of the rotated picture, where sizes show which."""


def photograph(path: Path, orientation: int) -> None:
    """Write a black picture whose first 10 stored rows and 20 columns are white."""
    pixels = np.zeros((*STORED_HW, 3), np.uint8)
    pixels[:10, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


def white(path: Path, rotated: bool) -> NDArray[np.bool_]:
    """Return where the photograph is white, as stored or rotated for display (by Pillow)."""
    with Image.open(path) as opened:
        shown = ImageOps.exif_transpose(opened) if rotated else opened
        return np.asarray(shown.convert("L")) > 128


def outline(mask: NDArray[np.bool_]) -> list[float]:
    """Return the rectangle that a mask fills as a COCO polygon."""
    ys, xs = np.nonzero(mask)
    x0, y0, x1, y1 = (float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def write_coco(folder: Path, segmentation: Any, **image: Any) -> Path:
    """Write a COCO file of one picture, ``a.jpg``, with one mug."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", **image}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "segmentation": segmentation, "iscrowd": 0}
        ],
        "categories": [{"id": 3, "name": "mug"}, {"id": 4, "name": "saw"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def brightness_inside(folder: Path, file: Path) -> float:
    """Return the mean brightness inside the mug's outline."""
    (truth,) = coco_examples(file, folder, 1)
    return float(truth.image[truth.masks[0]].mean())


@pytest.mark.parametrize(("orientation", "annotated_rotated"), ANNOTATED)
def test_coco_photograph_has_the_orientation_of_its_annotation(
    tmp_path: Path, orientation: int, annotated_rotated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.jpg", orientation)
    mask = white(tmp_path / "a.jpg", annotated_rotated)
    height, width = mask.shape
    file = write_coco(tmp_path, [outline(mask)], height=height, width=width)
    assert brightness_inside(tmp_path, file) > 250
    # A half turn or a mirror keeps the size, so the program warns.
    assert ("asks to be turned" in capsys.readouterr().err) == (1 < orientation < 5)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_coco_run_length_size_decides_orientation(tmp_path: Path, orientation: int) -> None:
    photograph(tmp_path / "a.jpg", orientation)
    mask = white(tmp_path / "a.jpg", rotated=True)
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0)).tolist()
    runs = np.diff([0, *changes, mask.size]).tolist()
    file = write_coco(tmp_path, {"size": list(mask.shape), "counts": runs})
    assert brightness_inside(tmp_path, file) > 250


def test_coco_photograph_without_size_is_read_as_stored_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.jpg", 6)
    file = write_coco(tmp_path, [outline(white(tmp_path / "a.jpg", rotated=False))])
    assert brightness_inside(tmp_path, file) > 250
    message = capsys.readouterr().err
    assert "a.jpg asks to be turned" in message and "as stored" in message


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_coco_size_unlike_photograph_is_an_error(tmp_path: Path, orientation: int) -> None:
    photograph(tmp_path / "a.jpg", orientation)
    file = write_coco(tmp_path, [[0, 0, 9, 0, 9, 9]], height=20, width=50)
    with pytest.raises(
        DatasetError, match=r"a\.jpg has 100 x 40 .*instances\.json is for 50 x 20"
    ):
        list(coco_examples(file, tmp_path, 1))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_tools_read_photograph_as_stored_with_a_warning(
    tmp_path: Path, orientation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.jpg", orientation)
    seen = read_image(tmp_path / "a.jpg").mean(axis=2) > 128
    np.testing.assert_array_equal(seen, white(tmp_path / "a.jpg", rotated=False))
    assert ("as the node takes it" in capsys.readouterr().err) == (orientation > 1)


def voc_folder(root: Path, mask: NDArray[np.uint8], orientation: int = 1, name: str = "a") -> Path:
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "SegmentationObject"):
        (root / folder).mkdir(exist_ok=True)
    photograph(root / "JPEGImages" / f"{name}.jpg", orientation)
    Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    return root


@pytest.mark.parametrize(("orientation", "annotated_rotated"), ANNOTATED)
def test_voc_photograph_has_the_orientation_of_its_mask(
    tmp_path: Path, orientation: int, annotated_rotated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "x.jpg", orientation)
    mask = white(tmp_path / "x.jpg", annotated_rotated).astype(np.uint8) * 12
    voc_folder(tmp_path, mask, orientation)
    (truth,) = voc_examples(tmp_path, 1)
    assert truth.image[truth.masks[0]].mean() > 250
    assert ("asks to be turned" in capsys.readouterr().err) == (1 < orientation < 5)


# An invalid segmentation, and the error message.
NAN, FAR = float("nan"), float("inf")
SEGMENTATIONS: list[tuple[Any, str]] = [
    (None, "no segmentation; masks are compared here"),
    ([], "no segmentation"),
    ({}, "no segmentation"),
    ("abc", "neither a list of polygons nor run lengths"),
    (7, "neither"),
    ([0, 0, 9, 0, 9, 9], "not a list of polygons"),
    ([[]], "0 numbers"),
    ([[1, 2]], "2 numbers"),
    ([[1, 2, 3, 4]], "4 numbers"),
    ([[0, 0, 9, 0, 9, 9, 1]], "7 numbers"),
    ([[0, 0, 9, 0, 9, 9], [1, 1, 2, 2]], "4 numbers"),
    ([[0, 0, NAN, 0, 9, 9]], "outside the picture"),
    ([[0, 0, FAR, 0, 9, 9]], "outside the picture"),
    ([[0, 0, -FAR, 0, 9, 9]], "outside the picture"),
    ([[0, 0, 9, 1e300, 9, 9]], "outside the picture"),
    ([[0, 0, 900, 0, 9, 9]], "outside the picture"),
    ([[0, 0, "9", 0, 9, 9]], "not a number"),
    ([[0, 0, None, 0, 9, 9]], "not a number"),
    ([[0, 0, True, 0, 9, 9]], "not a number"),
    ([[[0, 0], [9, 0], [9, 9]]], "not a number"),
    ([{"x": 1}], "not a list of polygons"),
    ({"counts": [4000]}, "do not fill"),
    ({"size": [40, 100]}, "run lengths are not whole numbers"),
    ({"size": [40, 100], "counts": None}, "run lengths are not"),
    ({"size": [40, 100], "counts": [10, -5, 3995]}, "run lengths are not"),
    ({"size": [40, 100], "counts": [1.5, 3998.5]}, "run lengths are not"),
    ({"size": [40, 100], "counts": ["4000"]}, "run lengths are not"),
    ({"size": [40, 100], "counts": [NAN]}, "run lengths are not"),
    ({"size": [40, 100], "counts": [3999]}, "do not fill"),
    ({"size": [40, 100], "counts": [10**30]}, "do not fill"),
    ({"size": [40, 100], "counts": []}, "do not fill"),
    ({"size": [40, 100], "counts": ""}, "do not fill"),
    ({"size": [40, 100], "counts": "\x00"}, "in compressed run lengths"),
    ({"size": [40, 100], "counts": "é"}, "in compressed run lengths"),
    ({"size": [40, 100], "counts": "o"}, "end within a number"),
    ({"size": [40, 100], "counts": "o" * 1000}, "in compressed run lengths"),
    ({"size": [40, 100], "counts": "XYZ"}, "run lengths|do not fill"),
    ({"size": "40x100", "counts": [4000]}, "do not fill"),
    ({"size": [40, 100, 3], "counts": [4000]}, "do not fill"),
    ({"size": [100, 40], "counts": [4000]}, "is for 40 x 100"),
]


@pytest.mark.parametrize(("segmentation", "message"), SEGMENTATIONS)
def test_invalid_coco_segmentation_is_an_error_with_file_names(
    tmp_path: Path, segmentation: Any, message: str
) -> None:
    photograph(tmp_path / "a.jpg", 1)
    file = write_coco(tmp_path, segmentation)
    with pytest.raises(DatasetError, match=message) as refusal:
        list(coco_examples(file, tmp_path, 1))
    for name in ("a.jpg", "instances.json"):
        assert name in str(refusal.value)


def test_coco_box_without_segmentation_is_an_error(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 1)
    file = write_coco(tmp_path, [])
    content = json.loads(file.read_text())
    del content["annotations"][0]["segmentation"]
    content["annotations"][0]["bbox"] = [0, 0, 20, 10]
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"annotation 5 of a\.jpg .*boxes alone are not enough"):
        list(coco_examples(file, tmp_path, 1))


@pytest.mark.parametrize(
    "polygon", [[-3, -3, 30, -3, 30, 10, -3, 10], [90, 30, 105, 30, 105, 44, 90, 44]]
)
def test_polygon_slightly_outside_the_picture_is_cropped(
    tmp_path: Path, polygon: list[float]
) -> None:
    photograph(tmp_path / "a.jpg", 1)
    (truth,) = coco_examples(write_coco(tmp_path, [polygon]), tmp_path, 1)
    xs = np.clip(polygon[::2], 0, 100)
    ys = np.clip(polygon[1::2], 0, 40)
    assert truth.masks[0].sum() == np.ptp(xs) * np.ptp(ys)


GOOD = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    ],
    "categories": [{"id": 3, "name": "mug"}],
}


def changed(key: str, *entries: Any) -> bytes:
    return json.dumps({**GOOD, key: list(entries)}).encode()


FILES: list[tuple[bytes, str]] = [
    (b"", "not a COCO file"),
    (b"{", "not a COCO file"),
    (b"[]", "categories is not a list"),
    (b"null", "categories is not a list"),
    (b"7", "categories is not a list"),
    (b"[" * 100_000, "not a COCO file"),
    (b'{"images": "\xff\xfe"}', "not text in UTF-8"),
    (b"\x89PNG\r\n\x1a\n" + bytes(40), "not text in UTF-8"),
    (b"PK\x03\x04", "not a COCO file"),
    (json.dumps({**GOOD, "images": {"1": {}}}).encode(), "images is not a list of objects"),
    (changed("images", "a.jpg"), "images is not a list of objects"),
    (changed("images", {"file_name": "a.jpg"}), "image has the id None"),
    (changed("images", {"id": "one", "file_name": "a.jpg"}), "image has the id 'one'"),
    (changed("images", {"id": True, "file_name": "a.jpg"}), "image has the id True"),
    (changed("images", {"id": 1.5, "file_name": "a.jpg"}), "image has the id 1.5"),
    (changed("images", {"id": 1}), "image 1 has no file_name"),
    (changed("images", {"id": 1, "file_name": 7}), "image 1 has no file_name"),
    (changed("images", {"id": 1, "file_name": ""}), "image 1 has no file_name"),
    (changed("images", *GOOD["images"] * 2), "two images have the id 1"),
    (changed("images", {**GOOD["images"][0], "width": "100", "height": 40}), "width '100'"),
    (changed("images", {**GOOD["images"][0], "width": 100}), "height None"),
    (changed("images", {**GOOD["images"][0], "width": -1, "height": 40}), "width -1"),
    (changed("images", {**GOOD["images"][0], "width": NAN, "height": 40}), "width nan"),
    (changed("annotations"), "shows nothing"),
    (
        changed("annotations", {**GOOD["annotations"][0], "image_id": 2}),
        "of image 2, which is not",
    ),
    (changed("annotations", {"id": 5}), "annotation has the image_id None"),
    (changed("annotations", None), "annotations is not a list of objects"),
    (
        changed("annotations", {**GOOD["annotations"][0], "category_id": 9}),
        "category 9 is not there",
    ),
    (changed("annotations", {**GOOD["annotations"][0], "category_id": "m"}), "category_id 'm'"),
    (changed("categories", {"id": 3}), "category 3 has no name"),
    (changed("categories", {"id": 3, "name": None}), "category 3 has no name"),
    (changed("categories", {"id": 3, "name": " "}), "category 3 has no name"),
    (changed("categories", *GOOD["categories"] * 2), "two categories have the id 3"),
    (changed("categories", {"name": "mug"}), "category has the id None"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_invalid_coco_file_is_an_error_with_its_cause(
    tmp_path: Path, content: bytes, message: str
) -> None:
    photograph(tmp_path / "a.jpg", 1)
    file = tmp_path / "instances.json"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as refusal:
        list(coco_examples(file, tmp_path, 1))
    assert "instances.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_coco_file_with_float_ids_and_byte_order_mark_is_read(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 1)
    image = {"id": 1.0, "file_name": "a.jpg", "width": 100.0, "height": 40.0}
    file = tmp_path / "instances.json"
    file.write_bytes(b"\xef\xbb\xbf" + changed("images", image))
    assert len(list(coco_examples(file, tmp_path, 1))) == 1


def damage(path: Path, how: str) -> None:
    """Damage a picture file, or replace it."""
    data = path.read_bytes()
    path.unlink()
    if how == "loop":
        path.symlink_to(path.name)
    elif how == "folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(
            {"empty": b"", "text": b"no picture", "half": data[: len(data) // 2]}[how]
        )


DAMAGES = ["missing", "empty", "text", "half", "loop", "folder"]


@pytest.mark.parametrize("how", DAMAGES)
def test_unreadable_picture_of_coco_folder_is_named(tmp_path: Path, how: str) -> None:
    photograph(tmp_path / "a.jpg", 1)
    damage(tmp_path / "a.jpg", how)
    with pytest.raises(ClipSurgeryError, match=r"a\.jpg"):
        list(coco_examples(write_coco(tmp_path, [[0, 0, 9, 0, 9, 9]]), tmp_path, 1))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("part", ["JPEGImages/a.jpg", "SegmentationClass/a.png"])
def test_unreadable_file_of_voc_folder_is_named(tmp_path: Path, part: str, how: str) -> None:
    voc_folder(tmp_path, np.full(STORED_HW, 3, np.uint8))
    damage(tmp_path / part, how)
    with pytest.raises(ClipSurgeryError, match=r"a\.jpg|a\.png|no SegmentationClass"):
        list(voc_examples(tmp_path, 1))


XML = "<annotation><size><width>{}</width><height>{}</height></size></annotation>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (XML.format(50, 20), r"a\.xml is for 50 x 20"),
        (XML.format(0, 0), r"a\.xml is for 0 x 0"),
        (XML.format("wide", 40), "size of width and height"),
        (XML.format("", 40), "size of width and height"),
        ("<annotation></annotation>", "size of width and height"),
        ("<annotation><size/></annotation>", "size of width and height"),
        ("<annotation><size><width>100</width>", "size of width and height"),
        ("", "size of width and height"),
        ("\x00\x01", "size of width and height"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "size of width and height"),
    ],
)
def test_invalid_voc_annotation_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    voc_folder(tmp_path, np.full(STORED_HW, 3, np.uint8))
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(XML.format(100, 40))
    assert len(list(voc_examples(tmp_path, 1))) == 1
    path.write_text(content)
    with pytest.raises(DatasetError, match=message) as refusal:
        list(voc_examples(tmp_path, 1))
    assert "a.xml" in str(refusal.value)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((20, 50), 3, np.uint8), r"SegmentationClass/a\.png is for 50 x 20"),
        (np.zeros((*STORED_HW, 3), np.uint8), "one index of 8 bits"),
        (np.zeros(STORED_HW, np.uint16), "one index of 8 bits"),
        (np.zeros(STORED_HW, np.bool_), "one index of 8 bits"),
        (np.full(STORED_HW, 21, np.uint8), "class 21, but only 20 are named"),
    ],
)
def test_invalid_voc_class_mask_is_an_error(
    tmp_path: Path, mask: NDArray[Any], message: str
) -> None:
    voc_folder(tmp_path, mask)
    with pytest.raises(DatasetError, match=message):
        list(voc_examples(tmp_path, 1))


def test_invalid_voc_object_mask_and_label_file_are_named(tmp_path: Path) -> None:
    voc_folder(tmp_path, np.full(STORED_HW, 3, np.uint8))
    cv2.imwrite(str(tmp_path / "SegmentationObject" / "a.png"), np.ones((9, 9), np.uint8))
    with pytest.raises(DatasetError, match=r"SegmentationObject/a\.png is for 9 x 9"):
        list(voc_examples(tmp_path, 1))
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"labels\.txt is not text in UTF-8"):
        list(voc_examples(tmp_path, 1))


def test_wrong_path_of_images_or_coco_file_is_an_error(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 1)
    file = write_coco(tmp_path, [[0, 0, 9, 0, 9, 9]])
    for folder in (tmp_path / "nowhere", tmp_path / "a.jpg"):
        with pytest.raises(DatasetError, match="is not a folder"):
            list(coco_examples(file, folder, 1))
    with pytest.raises(ClipSurgeryError, match=r"nowhere\.json does not exist"):
        list(coco_examples(tmp_path / "nowhere.json", tmp_path, 1))
    with pytest.raises(ClipSurgeryError, match="not a file"):
        list(coco_examples(tmp_path, tmp_path, 1))


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_command_with_invalid_coco_file_prints_the_error_and_writes_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.jpg", 1)
    file = write_coco(tmp_path, [[0, 0, NAN, 0, 9, 9]])
    output = tmp_path / "out"
    arguments = ["--coco", str(file), "--images", str(tmp_path), "--output", str(output)]
    assert main([command, *arguments]) == 2
    (sentence,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("clip_surgery: ")
    ]
    assert "a.jpg" in sentence and "outside the picture" in sentence
    assert not output.exists()


@pytest.mark.parametrize("how", [*DAMAGES[1:], "bomb"])
def test_calibrate_with_unreadable_picture_prints_the_error_and_writes_nothing(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.jpg", 1)
    if how == "bomb":
        Image.new("1", (16_500, 2)).save(tmp_path / "a.png")
        (tmp_path / "a.jpg").unlink()
    else:
        damage(tmp_path / "a.jpg", how)
    output = tmp_path / "out"
    arguments = ["--folder", str(tmp_path), "--query", "mug", "--output", str(output)]
    assert main(["calibrate", *arguments]) == 2
    assert "a.jpg" in (message := capsys.readouterr().err) or "a.png" in message
    assert not output.exists()
