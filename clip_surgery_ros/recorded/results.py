"""Joins the results of items: a COCO file, pictures of masks, and a summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.run_lengths import decompressed_runs, mask_of_runs
from clip_surgery_ros.core.types import NO_LABEL, Query
from clip_surgery_ros.recorded.label import result_file
from clip_surgery_ros.recorded.plan import Plan

MASKS = "masks"
"""Folder of the pictures of masks, in the output folder."""


@dataclass(frozen=True)
class LabelledFrame:
    """An image with its labels.

    :param name: of its bag and log time; a different one for each image.
    :param values: as the item's result has them.
    """

    name: str
    bag: str
    topic: str
    values: dict[str, Any]

    @property
    def is_skipped(self) -> bool:
        """Whether it could not be read or labelled."""
        return "error" in self.values


def labelled_frames(plan: Plan, output: Path) -> list[LabelledFrame]:
    """Return all images in the order of bags and log times, whatever the order of the work."""
    frames: dict[str, list[LabelledFrame]] = {}
    for item in plan.items:
        content = json.loads(result_file(item, output).read_bytes())
        frames.setdefault(item.bag, []).extend(
            LabelledFrame("", item.bag, item.topic, values) for values in content["frames"]
        )
    return [frame for bag in frames.values() for frame in _named(bag)]


def _named(frames: Sequence[LabelledFrame]) -> Iterator[LabelledFrame]:
    """Yield a bag's images by their log times, with names; sorting keeps the order of copies."""
    copies: Counter[int] = Counter()
    for frame in sorted(frames, key=lambda each: each.values["log_time"]):
        log_time = frame.values["log_time"]
        copies[log_time] += 1
        copy = f"_{copies[log_time]}" if copies[log_time] > 1 else ""
        yield replace(frame, name=f"{frame.bag}/{log_time}{copy}")


def write_coco(frames: Sequence[LabelledFrame], query: Query, output: Path) -> Path:
    """Write ``coco.json``: instances with scores, and what COCO has no place for beside them."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    numbers = {name: index + 1 for index, name in enumerate(query.names)}
    for frame in frames:
        about = {
            "bag": frame.bag,
            "topic": frame.topic,
            "log_time_ns": frame.values["log_time"],
            "stamp_ns": frame.values["stamp"],
            "frame_id": frame.values["frame_id"],
        }
        if frame.is_skipped:
            skipped.append({**about, "reason": frame.values["error"]})
            continue
        height, width = frame.values["size_hw"]
        absent = [
            {"category_id": numbers[each["name"]], "reason": each["reason"]}
            for each in frame.values["absent"]
        ]
        image = {"id": len(images) + 1, "file_name": f"{frame.name}.png"}
        images.append({**image, "height": height, "width": width, **about, "absent": absent})
        for each in frame.values["objects"]:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": each["label"] + 1,
                    "segmentation": {"size": [height, width], "counts": each["counts"]},
                    "area": each["area"],
                    "bbox": each["box"],
                    "iscrowd": 0,
                    "score": each["score"],
                    "presence": each["presence"],
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "skipped": skipped,
    }
    path = output / "coco.json"
    write_whole(path, json.dumps(content, separators=(",", ":")).encode() + b"\n")
    return path


def write_masks(frames: Sequence[LabelledFrame], output: Path) -> Path:
    """Write a grey PNG for each image: its labels' places in the query, from 0; 255 for none.

    Where objects overlap, the one with the higher score is shown.
    """
    folder = output / MASKS
    for frame in frames:
        if frame.is_skipped:
            continue
        canvas = np.full(frame.values["size_hw"], NO_LABEL, np.uint8)
        for each in sorted(frame.values["objects"], key=lambda each: each["score"]):
            runs = decompressed_runs(each["counts"])
            canvas[mask_of_runs(runs, tuple(frame.values["size_hw"]))] = each["label"]
        path = folder / f"{frame.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode_image(".png", canvas))
    return folder


def summary(frames: Sequence[LabelledFrame], query: Query) -> str:
    """Return a table with a row for each label, and how many images were skipped."""
    width = max(len(name) for name in ("label", *query.names))
    lines = [f"{'label':<{width}}  images  objects  mean score"]
    labelled = [frame for frame in frames if not frame.is_skipped]
    for index, name in enumerate(query.names):
        scores = [
            [each["score"] for each in frame.values["objects"] if each["label"] == index]
            for frame in labelled
        ]
        every = [score for of_frame in scores for score in of_frame]
        mean = f"{sum(every) / len(every):.3f}" if every else "-"
        images = sum(bool(of_frame) for of_frame in scores)
        lines.append(f"{name:<{width}}  {images:>6}  {len(every):>7}  {mean:>10}")
    lines.append(f"{len(labelled)} images labelled, {len(frames) - len(labelled)} skipped")
    return "\n".join(lines)
