"""Folders of pictures with masks, as COCO and PASCAL VOC lay them out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.evaluation.examples import Example, example, some_absent

VOC_NAMES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""Classes 1 to 20 of PASCAL VOC (Everingham et al. 2010)."""
BORDER = 255
"""Index of pixels that VOC leaves open."""


class DatasetError(ClipSurgeryError):
    """A data set is not laid out as it should be."""


def coco(annotations: Path, images: Path, count: int) -> Iterator[Example]:
    """The first pictures of a COCO "instances" file that show anything.

    Polygons and run lengths, plain or compressed, are read; crowds are ignored pixels.

    :param images: folder that the file names are relative to.
    :raises DatasetError: when the file is no such file, or a picture is missing.
    """
    try:
        data = json.loads(annotations.read_text())
        names = {one["id"]: str(one["name"]) for one in data["categories"]}
        by_image = defaultdict(list)
        for one in data["annotations"]:
            by_image[one["image_id"]].append(one)
        entries = [
            (int(one["id"]), images / str(one["file_name"]))
            for one in data["images"]
            if by_image[one["id"]]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{annotations} is not a COCO file of instances ({error!r}): it wants images, "
            "annotations and categories"
        ) from error
    if not entries:
        raise DatasetError(f"{annotations} shows nothing: no picture of it has an annotation")
    for number, path in entries[:count]:
        yield _coco_example(number, path, by_image[number], names)


def _coco_example(
    number: int, path: Path, annotations: Sequence[dict[str, Any]], names: dict[int, str]
) -> Example:
    image = _picture(path)
    size_hw = (image.shape[0], image.shape[1])
    ignored = np.zeros(size_hw, np.bool_)
    found: list[tuple[str, NDArray[np.bool_]]] = []
    for one in annotations:
        try:
            mask, name = _coco_mask(one["segmentation"], size_hw), names[one["category_id"]]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DatasetError(
                f"annotation {one.get('id')} of {path.name} cannot be read: {error!r}"
            ) from error
        if one.get("iscrowd"):
            ignored |= mask
        elif mask.any():
            found.append((name, mask))
    # A name of which only a crowd is there is neither present nor absent.
    crowds = [names[one["category_id"]] for one in annotations]
    absent = some_absent(sorted(set(names.values())), crowds, number)
    seen = [mask & ~ignored for _, mask in found]
    return example(image, [name for name, _ in found], seen, absent, ignored)


def _coco_mask(segmentation: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of polygons or run lengths."""
    if isinstance(segmentation, list):
        polygons = [np.array(one, np.float64).reshape(-1, 2) for one in segmentation]
        return np.any([_filled(corners, size_hw) for corners in polygons], axis=0)
    counts = segmentation["counts"]
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    height, width = segmentation["size"]
    if (height, width) != size_hw or sum(runs) != height * width:
        raise ValueError(f"runs of {height} x {width} do not fill {size_hw[0]} x {size_hw[1]}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T  # column by column


def _filled(corners: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) pixels whose centre lies in the polygon of (P, 2) corners (x, y)."""
    rows, columns = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    return np.asarray(Polygon(corners).contains_points(centres)).reshape(size_hw)


def _decompressed(text: str) -> list[int]:
    """Run lengths of COCO's strings: five bits a character, each from the third on a difference to
    the one two before (pycocotools, ``rleFrString``).
    """
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"character {text[place]!r} in compressed run lengths")
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            shift += 5
            place += 1
            if not more and bits & 0x10:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    if min(runs, default=0) < 0:
        raise ValueError("a run length below zero")
    return runs


def voc(root: Path, count: int) -> Iterator[Example]:
    """The first pictures of a folder laid out as PASCAL VOC's segmentation sets.

    ``JPEGImages`` holds the pictures, ``SegmentationClass`` PNGs of class indices and, where
    objects are told apart, ``SegmentationObject``. ``labels.txt`` names the classes from index 1
    on, a line each; without it they are VOC's own.

    :raises DatasetError: when a part is missing or does not fit.
    """
    classes = sorted((root / "SegmentationClass").glob("*.png"))
    if not classes:
        raise DatasetError(f"{root} has no SegmentationClass/*.png; is it laid out as VOC?")
    listed = root / "labels.txt"
    names = tuple(listed.read_text().split("\n")) if listed.exists() else VOC_NAMES
    names = tuple(name.strip() for name in names if name.strip())
    for path in classes[:count]:
        yield _voc_example(root, path, names)


def _voc_example(root: Path, path: Path, names: tuple[str, ...]) -> Example:
    image = _picture(_beside(root / "JPEGImages", path.stem))
    indices = _indices(path, image.shape)
    apart = root / "SegmentationObject" / path.name
    objects = _indices(apart, image.shape) if apart.exists() else indices
    ignored = (indices == BORDER) | (objects == BORDER)
    found = []
    for number in np.unique(objects[(indices > 0) & ~ignored]).tolist():
        mask = (objects == number) & (indices > 0) & ~ignored
        index = int(np.bincount(indices[mask]).argmax())
        if index > len(names):
            raise DatasetError(
                f"{path} has class {index}, but only {len(names)} are named; put one name a line "
                f"into {root / 'labels.txt'}"
            )
        found.append((names[index - 1], mask))
    there = [name for name, _ in found]
    seed = sum(path.stem.encode())
    return example(
        image, there, [mask for _, mask in found], some_absent(names, there, seed), ignored
    )


def _beside(folder: Path, stem: str) -> Path:
    for ending in (".jpg", ".jpeg", ".png"):
        if (folder / f"{stem}{ending}").exists():
            return folder / f"{stem}{ending}"
    raise DatasetError(f"{folder} has no picture {stem}.jpg or .png")


def _picture(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"picture {path} is missing or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _indices(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) palette indices, or grey values; colours would not say which class."""
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{path} is not a picture: {error}") from error
    if values.shape != shape[:2] or values.dtype != np.uint8:
        raise DatasetError(
            f"{path} is {values.shape} {values.dtype}, but wants one index of 8 bits for each of "
            f"{shape[1]} x {shape[0]} pixels"
        )
    return values
