"""What the labels of bags are written to, image by image: a COCO file, pictures of masks, and a
summary.

An export is a context that gives a function, which takes each image. At its end the files are
complete; after an error, files of an earlier run are as before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeAlias

from clip_surgery_ros.core.files import write_together, write_whole
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.masks import class_mask
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.recorded.frames import LabelledFrame

COCO = "coco.json"
MASKS = "masks"
"""Folder of the pictures of masks, in the output folder."""
Take: TypeAlias = Callable[[LabelledFrame], None]
"""Takes the next image, in the order of bags and log times."""


@contextmanager
def coco_file(query: Query, output: Path) -> Iterator[Take]:
    """Write ``coco.json``: instances with scores and ids, and what COCO has no place for.

    One image at a time is in memory, however many there are.
    """
    numbers = {name: index + 1 for index, name in enumerate(query.names)}
    with (
        write_together(output) as folder,
        (folder / COCO).open("wb") as file,
        TemporaryFile(dir=folder) as annotations,
        TemporaryFile(dir=folder) as skipped,
    ):
        lists = {"images": _JsonList(file), "annotations": _JsonList(annotations)}
        lists["skipped"] = _JsonList(skipped)

        def take(frame: LabelledFrame) -> None:
            if frame.result is None:
                lists["skipped"].add({**_about(frame), "reason": frame.error})
                return
            image = _image(frame, lists["images"].count + 1, numbers)
            lists["images"].add(image)
            for entry in _annotations(frame, image):
                lists["annotations"].add({"id": lists["annotations"].count + 1, **entry})

        file.write(b'{"images":[')
        yield take
        file.write(b'],"annotations":[')
        _append(annotations, file)
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        file.write(b'],"categories":' + _json(categories) + b',"skipped":[')
        _append(skipped, file)
        file.write(b"]}\n")


class _JsonList:
    """The entries of a JSON list, written one by one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def add(self, entry: dict[str, Any]) -> None:
        self._file.write((b",\n" if self.count else b"") + _json(entry))
        self.count += 1


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _append(part: IO[bytes], file: IO[bytes]) -> None:
    part.seek(0)
    shutil.copyfileobj(part, file)


def _about(frame: LabelledFrame) -> dict[str, Any]:
    return {
        "bag": frame.item.bag,
        "topic": frame.item.topic,
        "log_time_ns": frame.log_time,
        "stamp_ns": frame.values["stamp"],
        "frame_id": frame.values["frame_id"],
    }


def _image(frame: LabelledFrame, number: int, numbers: dict[str, int]) -> dict[str, Any]:
    """Return COCO's entry of an image.

    :param numbers: of the categories.
    """
    height, width = frame.values["size_hw"]
    absent = [
        {"category_id": numbers[each["name"]], "reason": each["reason"]}
        for each in frame.values["absent"]
    ]
    return {
        "id": number,
        "file_name": f"{frame.name}.png",
        "height": height,
        "width": width,
        **_about(frame),
        "absent": absent,
    }


def _annotations(frame: LabelledFrame, image: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield COCO's entries of an image's objects, without their numbers.

    :param image: its own entry.
    """
    assert frame.result is not None
    objects = zip(frame.values["objects"], frame.result.segments, strict=True)
    for index, (each, segment) in enumerate(objects):
        track = frame.remembered.of(segment.id) if frame.remembered is not None else None
        yield {
            "image_id": image["id"],
            "category_id": each["label"] + 1,
            "track_id": track.number if track is not None else None,
            "track": track.id if track is not None else "",
            "segmentation": {
                "size": [image["height"], image["width"]],
                "counts": each["counts"],
            },
            "area": each["area"],
            "bbox": each["box"],
            "iscrowd": 0,
            "score": each["score"],
            "presence": each["presence"],
            **_place(frame, index),
        }


def _place(frame: LabelledFrame, index: int) -> dict[str, Any]:
    """Return COCO's further field of an object for its place in space, where that is wanted."""
    if frame.scene is None:
        return {}
    lifted, stored = frame.scene.found.lifted[index], frame.values["space"]["objects"][index]
    return {
        "space": {
            "frame": frame.scene.found.frame,
            "box": stored["box"],
            "covariance": stored["covariance"],
            "is_lower_bound": lifted.is_lower_bound,
            "reasons": stored["findings"],
        }
    }


@contextmanager
def mask_pictures(output: Path) -> Iterator[Take]:
    """Write a grey PNG for each image: its labels' places in the query, from 0; 255 for none."""

    def take(frame: LabelledFrame) -> None:
        if frame.result is None:
            return
        pixels = class_mask(frame.result.segments, frame.result.size_hw)
        path = output / MASKS / f"{frame.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode_image(".png", pixels))

    yield take


@dataclass(frozen=True)
class LabelCounts:
    """What was found of a label.

    :param images: that have it.
    :param ids: objects that have a number.
    :param mean: of the scores, with three digits; ``-`` if there are none.
    """

    images: int
    objects: int
    ids: int
    mean: str


class Summary:
    """Counts images, objects and ids of each label."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._images, self._objects = ([0] * len(query.labels) for _ in range(2))
        self._scores = [0.0] * len(query.labels)
        self._ids: list[set[int]] = [set() for _ in query.labels]
        self.labelled = self.skipped = 0

    def take(self, frame: LabelledFrame) -> None:
        """Count an image."""
        if frame.result is None:
            self.skipped += 1
            return
        self.labelled += 1
        for index in {segment.label for segment in frame.result.segments}:
            self._images[index] += 1
        for segment in frame.result.segments:
            self._objects[segment.label] += 1
            self._scores[segment.label] += segment.score
            if segment.id:
                self._ids[segment.label].add(segment.id)

    def rows(self) -> list[LabelCounts]:
        """Return the counts of each label."""
        rows = []
        for index in range(len(self._query.labels)):
            count = self._objects[index]
            mean = f"{self._scores[index] / count:.3f}" if count else "-"
            rows.append(LabelCounts(self._images[index], count, len(self._ids[index]), mean))
        return rows

    def table(self) -> str:
        """Return a table with a row for each label, and how many images were skipped."""
        width = max(len(name) for name in ("label", *self._query.names))
        lines = [f"{'label':<{width}}  images  objects  ids  mean score"]
        for name, row in zip(self._query.names, self.rows(), strict=True):
            counts = f"{row.images:>6}  {row.objects:>7}  {row.ids:>3}"
            lines.append(f"{name:<{width}}  {counts}  {row.mean:>10}")
        lines.append(f"{self.labelled} images labelled, {self.skipped} skipped")
        return "\n".join(lines)
