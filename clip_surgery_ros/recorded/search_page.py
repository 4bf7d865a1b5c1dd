"""A page about the answers of an index: one HTML file with all its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.types import Label, Query, Wanted
from clip_surgery_ros.pictures.render import map_picture
from clip_surgery_ros.recorded.answers import Answer, Index
from clip_surgery_ros.recorded.features import thumbnail
from clip_surgery_ros.recorded.page import PAGE, WIDTH, Picture, filled, jpeg_uri
from clip_surgery_ros.recorded.page_template import SEARCH_TEMPLATE
from clip_surgery_ros.ros.bag_parts import FrameTime, open_part, parts_of_bag


@dataclass(frozen=True)
class Found:
    """The answers for a label.

    :param label: as the user wrote it.
    :param answers: the most likely ones first.
    :param note: why there are none, or how the label is read; may be empty.
    """

    label: Label
    answers: Sequence[Answer]
    note: str


def write_search_page(
    found: Sequence[Found], index: Index, output: Path, pipeline: Pipeline | None = None
) -> None:
    """Write ``index.html``.

    :param output: folder that exists.
    :param pipeline: draws each label's map over its images, which are read from the bags. Without
        it, or where a bag is gone, the index's thumbnails are shown.
    """
    labels = [
        {
            "name": each.label.name,
            "note": each.note,
            "pictures": [_picture(answer, each.label, index, pipeline) for answer in each.answers],
        }
        for each in found
    ]
    page = filled(
        SEARCH_TEMPLATE,
        heading=f"Search: {'; '.join(each.label.name for each in found)}",
        labels=labels,
        images=index.images,
        bags=index.manifest.bags,
        maps=pipeline is not None,
    )
    write_whole(output / PAGE, page.encode())


def _picture(answer: Answer, label: Label, index: Index, pipeline: Pipeline | None) -> Picture:
    caption = f"{answer.presence:.3f}  {answer.bag.name} at {seconds(answer.log_time)} s"
    if pipeline is not None:
        try:
            return Picture(jpeg_uri(heatmap(answer, label, pipeline)), caption)
        except ImageError as error:
            caption += f"; no map: {error}"
    return Picture(jpeg_uri(index.thumbnail(answer)), caption)


def heatmap(answer: Answer, label: Label, pipeline: Pipeline) -> bytes:
    """Return the JPEG of a label's map over an answer's image, which is read from its bag.

    :raises ImageError: when the bag, or the image in it, cannot be read any more.
    """
    time = FrameTime(answer.log_time, answer.copy)
    for part in parts_of_bag(Path(answer.bag.path)):
        if str(part.file.resolve()) != answer.file:
            continue
        with open_part(part, answer.bag.topic) as reader:
            (frame,) = reader.frames([time], together=False)
        if frame.image is None:
            raise ImageError(frame.error)
        result = pipeline.run(frame.image, Query((label,)), Wanted(segments=False))
        return thumbnail(map_picture(frame.image, result.similarity[0]), WIDTH)
    raise ImageError(f"{answer.file} is no file of the bag {answer.bag.path} any more")


def seconds(time_ns: int) -> str:
    """Return a time in ns as seconds, without rounding."""
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"
