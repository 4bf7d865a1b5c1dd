"""Read examples from a folder in the layout of PASCAL VOC's segmentation sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.annotated import (
    DatasetError,
    read_annotated_picture,
    read_indices,
    read_text,
)
from clip_surgery_ros.evaluation.class_names import VOC_NAMES
from clip_surgery_ros.evaluation.examples import Example, sample_absent
from clip_surgery_ros.pictures.decode import MAX_BYTES
from clip_surgery_ros.pictures.files import read_bytes

BORDER = 255
"""Index of pixels that VOC assigns to no class, along the borders of objects."""


def voc_examples(root: Path, count: int) -> Iterator[Example]:
    """Return the first pictures of a folder in VOC's layout.

    ``JPEGImages`` holds the pictures and ``SegmentationClass`` PNGs of class indices.
    ``SegmentationObject``, where there is one, holds PNGs of object indices. ``labels.txt`` names
    the classes from index 1 on, one per line; without it they are :data:`VOC_NAMES`. Sizes in
    ``Annotations``, where there are any, must be those of the pictures.

    :param count: largest number of examples.
    :raises DatasetError: when a part is missing, or parts do not fit together.
    :raises ImageError: when a file is missing or cannot be read.
    """
    class_files = sorted((root / "SegmentationClass").glob("*.png"))
    if not class_files:
        raise DatasetError(f"{root} has no SegmentationClass/*.png; is it laid out as VOC?")
    labels = root / "labels.txt"
    lines = read_text(labels).split("\n") if labels.exists() else VOC_NAMES
    names = tuple(name.strip() for name in lines if name.strip())
    return (_example(root, path, names) for path in class_files[:count])


def _example(root: Path, class_file: Path, names: tuple[str, ...]) -> Example:
    classes = objects = read_indices(class_file)
    object_file = root / "SegmentationObject" / class_file.name
    description = (root / "Annotations" / class_file.name).with_suffix(".xml")
    sizes = {str(class_file): _size_hw(classes)}
    if object_file.exists():
        objects = read_indices(object_file)
        sizes[str(object_file)] = _size_hw(objects)
    if description.exists():
        sizes[str(description)] = _read_xml_size(description)
    image = read_annotated_picture(_find_picture(root / "JPEGImages", class_file.stem), sizes)
    ignored = (classes == BORDER) | (objects == BORDER)
    present, masks = [], []
    for number in np.unique(objects[(classes > 0) & ~ignored]).tolist():
        mask = (objects == number) & (classes > 0) & ~ignored
        class_index = int(np.bincount(classes[mask]).argmax())
        if class_index > len(names):
            raise DatasetError(
                f"{class_file} has class {class_index}, but only {len(names)} are named; put one "
                f"name a line into {root / 'labels.txt'}"
            )
        present.append(names[class_index - 1])
        masks.append(mask)
    seed = sum(os.fsencode(class_file.stem))
    absent = sample_absent(names, present, seed)
    return Example.of_objects(image, present, masks, absent, ignored)


def _find_picture(folder: Path, stem: str) -> Path:
    for ending in (".jpg", ".jpeg", ".png"):
        if (folder / f"{stem}{ending}").exists():
            return folder / f"{stem}{ending}"
    raise DatasetError(f"{folder} has no picture {stem}.jpg or .png")


def _size_hw(values: NDArray) -> tuple[int, int]:
    return values.shape[0], values.shape[1]


def _read_xml_size(path: Path) -> tuple[int, int]:
    """Read the height and width in VOC's description of a picture."""
    data = read_bytes(path, MAX_BYTES)
    try:
        description = ElementTree.fromstring(data)
        height, width = (int(description.findtext(f"size/{s}", "")) for s in ("height", "width"))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(
            f"{path} is not VOC's description of a picture with a size of width and height "
            f"({error})"
        ) from error
    return height, width
