"""The pictures of data sets with the class of every pixel, in the layouts that papers use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.annotated import (
    DatasetError,
    read_annotated_picture,
    read_indices,
    read_text,
)

IGNORED = 255
"""Class of pixels that no figure counts."""
_UNKNOWN = -1
_OBJECTS, _THINGS = 80, 91
"""Objects of COCO, and their ids in COCO's own numbering, which leaves some out."""
_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Ids below :data:`_THINGS` that stand for no object, counted from 0 as in COCO-Stuff's masks."""
_STUFF_IDS = 182
_COCO_FOLDERS = (
    "annotations/val2017",
    "stuffthingmaps_trainval2017/val2017",
    "stuffthingmaps/val2017",
    "val2017",
)


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and the class of each of its pixels.

    :param name: of the picture's file, without its ending.
    :param image: (H, W, 3) uint8 RGB.
    :param classes: (H, W) uint8, numbers of classes, or :data:`IGNORED`.
    """

    name: str
    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledPictures:
    """The pictures of a data set, read one by one.

    :param files: picture and mask of each.
    :param lookup: (256,) class of each value in the masks, :data:`IGNORED`, or -1 for a value that
        the data set does not have.
    """

    files: Sequence[tuple[Path, Path]]
    lookup: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int = 0) -> Iterator[LabelledPicture]:
        """Yield the pictures from a position on.

        :raises DatasetError: when a mask has a wrong value, or does not fit its picture.
        :raises ImageError: when a file is missing or cannot be read.
        """
        for picture, mask in self.files[start:]:
            values = read_indices(mask)
            classes = self.lookup[values]
            if (classes == _UNKNOWN).any():
                wrong = sorted(set(values[classes == _UNKNOWN].tolist()))
                allowed = np.flatnonzero(self.lookup != _UNKNOWN)
                raise DatasetError(
                    f"{mask} has the value {wrong[0]}, which is no class of this data set; masks "
                    f"have values from {allowed[0]} to {allowed[allowed < IGNORED][-1]} and "
                    f"{IGNORED} for pixels that count for nothing"
                )
            size_hw = (int(values.shape[0]), int(values.shape[1]))
            image = read_annotated_picture(picture, {str(mask): size_hw})
            yield LabelledPicture(picture.stem, image, classes.astype(np.uint8))


def voc_pictures(root: Path, *, background: bool) -> LabelledPictures:
    """Return the validation pictures of PASCAL VOC 2012.

    :param root: with ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation/val.txt``.
    :param background: whether class 0 is the background; without it, its pixels are ignored.
    :raises DatasetError: when a part is missing.
    :raises ImageError: when the list cannot be read.
    """
    files = _listed_files(root, "SegmentationClass", "Segmentation")
    return LabelledPictures(files, _pascal_lookup(20, background))


def context_pictures(root: Path, *, background: bool) -> LabelledPictures:
    """Return the validation pictures of PASCAL Context with its 59 classes.

    :param root: VOC 2010 with ``SegmentationClassContext`` and
        ``ImageSets/SegmentationContext/val.txt``, as mmsegmentation's converter writes them.
    :param background: as of :func:`voc_pictures`.
    :raises DatasetError: when a part is missing.
    :raises ImageError: when the list cannot be read.
    """
    files = _listed_files(root, "SegmentationClassContext", "SegmentationContext")
    return LabelledPictures(files, _pascal_lookup(59, background))


def coco_pictures(root: Path, images: Path | None, *, stuff: bool) -> LabelledPictures:
    """Return the validation pictures of COCO 2017 with the masks of COCO-Stuff.

    Masks are read as COCO-Stuff publishes them (``stuffthingmaps_trainval2017.zip``) or as the
    converters of mmsegmentation (``*_labelTrainIds.png``) and GroupViT
    (``*_instanceTrainIds.png``) write them.

    :param root: with ``annotations/val2017``, ``stuffthingmaps_trainval2017/val2017`` or
        ``val2017``, which have the masks.
    :param images: folder of the pictures; None for ``images/val2017`` or ``val2017`` of ``root``.
    :param stuff: whether the classes are all 171; else the 80 objects, after a background of
        everything else, unlabelled pixels too, as GroupViT has it.
    :raises DatasetError: when a part is missing.
    """
    folders = [images] if images else [root / "images" / "val2017", root / "val2017"]
    masks, lookup = _coco_masks(root, stuff)
    pictures = next((folder for folder in folders if folder.is_dir()), None)
    if pictures is None:
        raise DatasetError(f"{folders[0]} is not a folder; name that of the pictures by --images")
    files = [(pictures / f"{mask.stem.split('_')[0]}.jpg", mask) for mask in masks]
    missing = [picture for picture, _ in files if not picture.exists()]
    if missing:
        raise DatasetError(
            f"{missing[0]} does not exist, as {len(missing)} of {len(files)} pictures with masks; "
            "name the folder of the pictures by --images"
        )
    return LabelledPictures(files, lookup)


def _listed_files(root: Path, mask_folder: str, list_folder: str) -> list[tuple[Path, Path]]:
    """Return pictures and masks of the names in ``val.txt``, all of which must exist."""
    listed = root / "ImageSets" / list_folder / "val.txt"
    if not listed.exists():
        raise DatasetError(
            f"{listed} does not exist; it names the pictures that published figures are about"
        )
    names = read_text(listed).split()
    if not names:
        raise DatasetError(f"{listed} names no picture")
    files = [
        (root / "JPEGImages" / f"{name}.jpg", root / mask_folder / f"{name}.png") for name in names
    ]
    missing = [file for pair in files for file in pair if not file.exists()]
    if missing:
        raise DatasetError(f"{missing[0]} does not exist, but {listed} names it")
    return files


def _pascal_lookup(classes: int, background: bool) -> NDArray[np.int64]:
    """Return the lookup of masks in which 0 is the background and 1 is the first class."""
    lookup = np.full(256, _UNKNOWN, np.int64)
    lookup[0] = 0 if background else IGNORED
    lookup[1 : classes + 1] = np.arange(classes) + background
    lookup[IGNORED] = IGNORED
    return lookup


def _coco_masks(root: Path, stuff: bool) -> tuple[list[Path], NDArray[np.int64]]:
    """Return the masks of COCO-Stuff, as published or converted, with the lookup for them."""
    endings: Mapping[str, NDArray[np.int64]] = {
        "": _published_lookup(stuff),
        "_labelTrainIds": _converted_lookup(stuff),
    }
    if not stuff:
        endings = {**endings, "_instanceTrainIds": _pascal_lookup(_OBJECTS, background=True)}
    for folder in _COCO_FOLDERS:
        found = sorted((root / folder).glob("*.png"))
        for ending, lookup in endings.items():
            masks = [file for file in found if file.stem == file.stem.split("_")[0] + ending]
            if masks:
                return masks, lookup
    places = ", ".join(_COCO_FOLDERS)
    raise DatasetError(
        f"{root} has no masks of COCO-Stuff: no PNG in {places}; --coco names the folder that has "
        "them, or that of stuffthingmaps_trainval2017.zip"
    )


def _published_lookup(stuff: bool) -> NDArray[np.int64]:
    """Return the lookup of masks as COCO-Stuff publishes them: COCO's ids less 1, with gaps."""
    ids = [number for number in range(_STUFF_IDS) if number not in _UNUSED]
    lookup = np.full(256, _UNKNOWN, np.int64)
    lookup[ids] = np.arange(len(ids))
    lookup[IGNORED] = IGNORED
    return lookup if stuff else _only_objects(lookup)


def _converted_lookup(stuff: bool) -> NDArray[np.int64]:
    """Return the lookup of masks with mmsegmentation's numbers 0 to 170."""
    lookup = np.full(256, _UNKNOWN, np.int64)
    lookup[: _STUFF_IDS - len(_UNUSED)] = np.arange(_STUFF_IDS - len(_UNUSED))
    lookup[IGNORED] = IGNORED
    return lookup if stuff else _only_objects(lookup)


def _only_objects(lookup: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a lookup with the objects from 1 on; all else that is known is background."""
    objects = np.where(lookup < _OBJECTS, lookup + 1, 0)
    return np.where(lookup == _UNKNOWN, _UNKNOWN, objects)
