"""Folders of pictures with masks, as COCO and PASCAL VOC lay them out."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_surgery_ros.evaluation.annotated import DatasetError, annotated_picture, text_of
from clip_surgery_ros.evaluation.coco_masks import declared_size, is_whole, mask_of
from clip_surgery_ros.evaluation.examples import Example, example, some_absent
from clip_surgery_ros.pictures.decode import DECODE_ERRORS, MAX_BYTES, MAX_PIXELS
from clip_surgery_ros.pictures.files import read_bytes

VOC_NAMES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""Classes 1 to 20 of PASCAL VOC (Everingham et al. 2010)."""
BORDER = 255
"""Index of pixels that VOC leaves open."""


@dataclass(frozen=True)
class _CocoPicture:
    """A picture of a COCO file and what is known of it."""

    number: int
    name: str
    size_hw: tuple[int, int] | None
    annotations: list[dict[str, Any]] = field(default_factory=list)


def coco(annotations: Path, images: Path, count: int) -> Iterator[Example]:
    """The first pictures of a COCO "instances" file that show anything.

    Polygons and run lengths, plain or compressed, are read; crowds are ignored pixels. The file is
    checked at once, pictures and masks as they come.

    :param images: folder that the file names are relative to.
    :raises DatasetError: when the file is no such file, or does not fit a picture.
    :raises ImageError: when a picture is missing or cannot be read.
    """
    text = text_of(annotations)
    try:
        data = json.loads(text)
        names, pictures = _coco_names(data), _coco_pictures(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{annotations} is not a COCO file of instances ({error}): it wants images, "
            "annotations and categories"
        ) from error
    shown = [picture for picture in pictures if picture.annotations]
    if not shown:
        raise DatasetError(f"{annotations} shows nothing: no picture of it has an annotation")
    if not images.is_dir():
        raise DatasetError(f"{images} is not a folder; name that of the pictures of {annotations}")
    return (_coco_example(annotations, images, one, names) for one in shown[:count])


def _coco_names(data: Any) -> dict[int, str]:
    """Categories' names by their ids."""
    names: dict[int, str] = {}
    for one in _entries(data, "categories"):
        number, name = _whole(one, "id", "category"), one.get("name")
        if not (isinstance(name, str) and name.strip()):
            raise ValueError(f"category {number} has no name")
        if number in names:
            raise ValueError(f"two categories have the id {number}")
        names[number] = name
    return names


def _coco_pictures(data: Any) -> list[_CocoPicture]:
    """Pictures with their annotations, in the file's order."""
    pictures: dict[int, _CocoPicture] = {}
    for one in _entries(data, "images"):
        number, name = _whole(one, "id", "image"), one.get("file_name")
        if not (isinstance(name, str) and name.strip("\0")):
            raise ValueError(f"image {number} has no file_name")
        if number in pictures:
            raise ValueError(f"two images have the id {number}")
        pictures[number] = _CocoPicture(number, name, _coco_size(one, number))
    for one in _entries(data, "annotations"):
        number = _whole(one, "image_id", "annotation")
        if number not in pictures:
            raise ValueError(
                f"annotation {one.get('id')} is of image {number}, which is not there"
            )
        pictures[number].annotations.append(one)
    return list(pictures.values())


def _coco_size(entry: Mapping[str, Any], number: int) -> tuple[int, int] | None:
    """Height and width that an image's entry declares, if it does."""
    size = entry.get("height"), entry.get("width")
    if size == (None, None):
        return None
    if not all(is_whole(side) for side in size):
        raise ValueError(f"image {number} has height {size[0]!r} and width {size[1]!r}")
    return int(entry["height"]), int(entry["width"])


def _entries(data: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects of the file's."""
    entries = data.get(name) if isinstance(data, dict) else None
    if not (isinstance(entries, list) and all(isinstance(one, dict) for one in entries)):
        raise ValueError(f"{name} is not a list of objects")
    return entries


def _whole(entry: Mapping[str, Any], key: str, what: str) -> int:
    value = entry.get(key)
    if not is_whole(value):
        raise ValueError(f"an {what} has the {key} {value!r}, not a whole number from 0 on")
    return int(value)  # type: ignore[arg-type]


def _coco_example(
    annotations: Path, images: Path, picture: _CocoPicture, names: Mapping[int, str]
) -> Example:
    image = annotated_picture(images / picture.name, _coco_sizes(annotations, picture))
    size_hw = (image.shape[0], image.shape[1])
    ignored = np.zeros(size_hw, np.bool_)
    found: list[tuple[str, NDArray[np.bool_]]] = []
    annotated: list[str] = []
    for one in picture.annotations:
        try:
            mask, name = mask_of(one.get("segmentation"), size_hw), _coco_name(one, names)
        except ValueError as error:
            raise DatasetError(
                f"annotation {one.get('id')} of {picture.name} cannot be read: {error} "
                f"({annotations})"
            ) from error
        annotated.append(name)
        if one.get("iscrowd"):
            ignored |= mask
        elif mask.any():
            found.append((name, mask))
    # A name of which only a crowd is there is neither present nor absent.
    absent = some_absent(sorted(set(names.values())), annotated, picture.number)
    seen = [mask & ~ignored for _, mask in found]
    return example(image, [name for name, _ in found], seen, absent, ignored)


def _coco_sizes(annotations: Path, picture: _CocoPicture) -> dict[str, tuple[int, int]]:
    """Sizes that the file declares of a picture: its own, and those of run lengths."""
    runs = (declared_size(one.get("segmentation")) for one in picture.annotations)
    sizes = {f"a mask of {annotations}": size for size in runs if size is not None}
    if picture.size_hw is not None:
        sizes[str(annotations)] = picture.size_hw
    return sizes


def _coco_name(annotation: Mapping[str, Any], names: Mapping[int, str]) -> str:
    number = _whole(annotation, "category_id", "annotation")
    if number not in names:
        raise ValueError(f"its category {number} is not there")
    return names[number]


def voc(root: Path, count: int) -> Iterator[Example]:
    """The first pictures of a folder laid out as PASCAL VOC's segmentation sets.

    ``JPEGImages`` holds the pictures, ``SegmentationClass`` PNGs of class indices and, where
    objects are told apart, ``SegmentationObject``. ``labels.txt`` names the classes from index 1
    on, a line each; without it they are VOC's own. Sizes in ``Annotations`` must fit, where there
    are any.

    :raises DatasetError: when a part is missing or does not fit.
    :raises ImageError: when a file is missing or cannot be read.
    """
    classes = sorted((root / "SegmentationClass").glob("*.png"))
    if not classes:
        raise DatasetError(f"{root} has no SegmentationClass/*.png; is it laid out as VOC?")
    listed = root / "labels.txt"
    lines = text_of(listed).split("\n") if listed.exists() else VOC_NAMES
    names = tuple(name.strip() for name in lines if name.strip())
    return (_voc_example(root, path, names) for path in classes[:count])


def _voc_example(root: Path, path: Path, names: tuple[str, ...]) -> Example:
    indices = objects = _indices(path)
    apart, about = root / "SegmentationObject" / path.name, root / "Annotations" / path.name
    sizes = {str(path): _size_hw(indices)}
    if apart.exists():
        objects = _indices(apart)
        sizes[str(apart)] = _size_hw(objects)
    if about.with_suffix(".xml").exists():
        sizes[str(about.with_suffix(".xml"))] = _xml_size(about.with_suffix(".xml"))
    image = annotated_picture(_beside(root / "JPEGImages", path.stem), sizes)
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
    seed = sum(os.fsencode(path.stem))
    return example(
        image, there, [mask for _, mask in found], some_absent(names, there, seed), ignored
    )


def _beside(folder: Path, stem: str) -> Path:
    for ending in (".jpg", ".jpeg", ".png"):
        if (folder / f"{stem}{ending}").exists():
            return folder / f"{stem}{ending}"
    raise DatasetError(f"{folder} has no picture {stem}.jpg or .png")


def _size_hw(values: NDArray) -> tuple[int, int]:
    return values.shape[0], values.shape[1]


def _indices(path: Path) -> NDArray[np.uint8]:
    """(H, W) palette indices, or grey values; colours would not say which class."""
    data = read_bytes(path, MAX_BYTES)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DatasetError(f"{path} claims {picture.width} x {picture.height} pixels")
            picture.load()
            values = np.asarray(picture)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} is not a picture, or damaged: {error}") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise DatasetError(
            f"{path} has {values.shape} values of type {values.dtype}, but wants one index of 8 "
            "bits for each pixel"
        )
    return values


def _xml_size(path: Path) -> tuple[int, int]:
    """Height and width of VOC's description of a picture."""
    data = read_bytes(path, MAX_BYTES)
    try:
        described = ElementTree.fromstring(data)
        height, width = (int(described.findtext(f"size/{s}", "")) for s in ("height", "width"))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(
            f"{path} is not VOC's description of a picture with a size of width and height "
            f"({error})"
        ) from error
    return height, width
