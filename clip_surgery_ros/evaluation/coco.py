"""Read examples from a COCO file of instances and its folder of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.annotated import DatasetError, read_annotated_picture, read_text
from clip_surgery_ros.evaluation.coco_masks import declared_size, decode_mask, is_whole_number
from clip_surgery_ros.evaluation.examples import Example, sample_absent


@dataclass(frozen=True)
class _Picture:
    """A picture of a COCO file, and its annotations."""

    id: int
    file_name: str
    size_hw: tuple[int, int] | None
    annotations: list[dict[str, Any]] = field(default_factory=list)


def coco_examples(annotations: Path, images: Path, count: int) -> Iterator[Example]:
    """Return the first pictures of a COCO "instances" file that have annotations.

    Polygons and run lengths, plain or compressed, are read; crowds become ignored pixels. The file
    is checked at once, each picture and its masks when the iterator reaches it.

    :param annotations: the JSON file.
    :param images: folder that the file names are relative to.
    :param count: largest number of examples.
    :raises DatasetError: when the file is not a COCO file, or does not fit a picture.
    :raises ImageError: when a picture is missing or cannot be read.
    """
    text = read_text(annotations)
    try:
        data = json.loads(text)
        names, pictures = _category_names(data), _pictures(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{annotations} is not a COCO file of instances ({error}): it needs images, "
            "annotations and categories"
        ) from error
    annotated = [picture for picture in pictures if picture.annotations]
    if not annotated:
        raise DatasetError(f"{annotations} shows nothing: no picture of it has an annotation")
    if not images.is_dir():
        raise DatasetError(f"{images} is not a folder; name that of the pictures of {annotations}")
    return (_example(annotations, images, picture, names) for picture in annotated[:count])


def _category_names(data: Any) -> dict[int, str]:
    """Return the names of the categories by their ids."""
    names: dict[int, str] = {}
    for entry in _entries(data, "categories"):
        category_id, name = _whole_number(entry, "id", "category"), entry.get("name")
        if not (isinstance(name, str) and name.strip()):
            raise ValueError(f"category {category_id} has no name")
        if category_id in names:
            raise ValueError(f"two categories have the id {category_id}")
        names[category_id] = name
    return names


def _pictures(data: Any) -> list[_Picture]:
    """Return the pictures with their annotations, in the file's order."""
    pictures: dict[int, _Picture] = {}
    for entry in _entries(data, "images"):
        image_id, file_name = _whole_number(entry, "id", "image"), entry.get("file_name")
        if not (isinstance(file_name, str) and file_name.strip("\0")):
            raise ValueError(f"image {image_id} has no file_name")
        if image_id in pictures:
            raise ValueError(f"two images have the id {image_id}")
        pictures[image_id] = _Picture(image_id, file_name, _image_size(entry, image_id))
    for entry in _entries(data, "annotations"):
        image_id = _whole_number(entry, "image_id", "annotation")
        if image_id not in pictures:
            raise ValueError(
                f"annotation {entry.get('id')} is of image {image_id}, which is not there"
            )
        pictures[image_id].annotations.append(entry)
    return list(pictures.values())


def _image_size(entry: Mapping[str, Any], image_id: int) -> tuple[int, int] | None:
    """Return the height and width that an image's entry declares; None without both."""
    size = entry.get("height"), entry.get("width")
    if size == (None, None):
        return None
    if not all(is_whole_number(side) for side in size):
        raise ValueError(f"image {image_id} has height {size[0]!r} and width {size[1]!r}")
    return int(entry["height"]), int(entry["width"])


def _entries(data: Any, name: str) -> list[dict[str, Any]]:
    """Return a list of objects of the file by its name."""
    entries = data.get(name) if isinstance(data, dict) else None
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise ValueError(f"{name} is not a list of objects")
    return entries


def _whole_number(entry: Mapping[str, Any], key: str, entry_name: str) -> int:
    value = entry.get(key)
    if not is_whole_number(value):
        raise ValueError(f"an {entry_name} has the {key} {value!r}, not a whole number from 0 on")
    return int(value)  # type: ignore[arg-type]


def _example(
    annotations: Path, images: Path, picture: _Picture, names: Mapping[int, str]
) -> Example:
    sizes_hw = _declared_sizes(annotations, picture)
    image = read_annotated_picture(images / picture.file_name, sizes_hw)
    size_hw = (image.shape[0], image.shape[1])
    ignored = np.zeros(size_hw, np.bool_)
    objects: list[tuple[str, NDArray[np.bool_]]] = []
    annotated: list[str] = []
    for annotation in picture.annotations:
        try:
            mask = decode_mask(annotation.get("segmentation"), size_hw)
            name = _category_name(annotation, names)
        except ValueError as error:
            raise DatasetError(
                f"annotation {annotation.get('id')} of {picture.file_name} cannot be read: "
                f"{error} ({annotations})"
            ) from error
        annotated.append(name)
        if annotation.get("iscrowd"):
            ignored |= mask
        elif mask.any():
            objects.append((name, mask))
    # A name with nothing but a crowd is neither present nor absent.
    absent = sample_absent(sorted(set(names.values())), annotated, picture.id)
    masks = [mask & ~ignored for _, mask in objects]
    return Example.of_objects(image, [name for name, _ in objects], masks, absent, ignored)


def _declared_sizes(annotations: Path, picture: _Picture) -> dict[str, tuple[int, int]]:
    """Return the sizes that the file declares for a picture and for its run lengths."""
    runs = (declared_size(each.get("segmentation")) for each in picture.annotations)
    sizes = {f"a mask of {annotations}": size for size in runs if size is not None}
    if picture.size_hw is not None:
        sizes[str(annotations)] = picture.size_hw
    return sizes


def _category_name(annotation: Mapping[str, Any], names: Mapping[int, str]) -> str:
    category_id = _whole_number(annotation, "category_id", "annotation")
    if category_id not in names:
        raise ValueError(f"its category {category_id} is not there")
    return names[category_id]
