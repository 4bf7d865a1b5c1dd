"""A page about labelled bags for people: one HTML file without scripts, with all its pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.types import Box, Query
from clip_surgery_ros.pictures.render import colour_of, draw_segments
from clip_surgery_ros.recorded.digest import Digest, Example, OfLabel, Timeline
from clip_surgery_ros.recorded.frames import LabelledFrame
from clip_surgery_ros.recorded.page_template import TEMPLATE
from clip_surgery_ros.recorded.plan import Plan
from clip_surgery_ros.recorded.results import Summary, Take
from clip_surgery_ros.ros.bag_parts import FrameTime, Part, open_part

PAGE = "index.html"
WIDTH = 320
"""Pixels of a picture of the overview."""
CROP_HEIGHT = 150
"""Pixels of the picture of an example."""
QUALITY = 80
"""Of the pictures' JPEG: differences to the camera's image cannot be seen in this size."""
MARGIN = 0.4
"""What is shown round an example, in its own sizes."""
MOST_BAGS = 20
"""Bags whose counts are drawn; ``coco.json`` has all."""
BAR_HEIGHT = 48
"""Pixels of the highest bar of a chart."""
CHART_WIDTH = 720
"""Pixels of a chart."""
Rgb = NDArray[np.uint8]


@contextmanager
def page_file(plan: Plan, query: Query, output: Path) -> Iterator[Take]:
    """Write ``index.html``. The images that it shows are read from the bags once more."""
    digest, summary = Digest(plan, query), Summary(query)

    def take(frame: LabelledFrame) -> None:
        digest.take(frame)
        summary.take(frame)

    yield take
    write_whole(output / PAGE, _html(digest, summary, plan, query).encode())


def _html(digest: Digest, summary: Summary, plan: Plan, query: Query) -> str:
    pictures = _Pictures(digest)
    labels = [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(index)),
            "row": row,
            "best": [pictures.example(each) for each in shown.best],
            "worst": [pictures.example(each) for each in shown.worst],
            "reasons": _reasons(shown),
        }
        for index, (name, row, shown) in enumerate(
            zip(query.names, summary.rows(), digest.labels, strict=True)
        )
    ]
    return filled(
        TEMPLATE,
        heading=f"Labels: {'; '.join(query.names)}",
        labels=labels,
        labelled=summary.labelled,
        skipped_count=summary.skipped,
        bags=[_chart(name, digest.timelines[name]) for name in [*digest.timelines][:MOST_BAGS]],
        more_bags=max(0, len(digest.timelines) - MOST_BAGS),
        overview=[pictures.whole(frame) for frame in digest.overview],
        skipped=digest.skipped,
        unreadable=plan.unreadable,
        width=CHART_WIDTH,
        height=BAR_HEIGHT,
    )


def filled(template: str, **values: Any) -> str:
    """Return a page. Markup in labels, topics and errors is text."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(**values)


def _reasons(shown: OfLabel) -> list[tuple[int, str]]:
    """Return how often a label was absent for each reason, the most frequent first."""
    return sorted(shown.reasons.values(), key=lambda each: -each[0])


def _chart(name: str, timeline: Timeline) -> dict[str, Any]:
    """Return the bars of a bag: mean numbers of objects in an image, over time."""
    rows, width = [], CHART_WIDTH / len(timeline.images)
    for index, objects in enumerate(timeline.objects):
        means = [
            count / images if images else None
            for count, images in zip(objects, timeline.images, strict=True)
        ]
        most = max((mean for mean in means if mean), default=0.0)
        bars = [
            (round(width * place, 1), max(1, round(BAR_HEIGHT * mean / most)) if mean else 0)
            for place, mean in enumerate(means)
            if mean is not None
        ]
        rows.append({"index": index, "most": most, "bars": bars})
    seconds = (timeline.end - timeline.start) / 1e9
    return {"name": name, "seconds": seconds, "rows": rows, "bar": round(width, 1) - 1}


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    :param uri: of its own content; empty if the image can no longer be read.
    :param caption: in words.
    """

    uri: str
    caption: str


class _Pictures:
    """The pictures of a page; each image that they show is read once.

    Images are kept reduced, as there may be hundreds.
    """

    def __init__(self, digest: Digest) -> None:
        self._starts = {name: each.start for name, each in digest.timelines.items()}
        self._whole: dict[str, str] = {}
        self._crops: dict[tuple[str, Box], str] = {}
        examples = [each for label in digest.labels for each in (*label.best, *label.worst)]
        wanted: dict[tuple[Part, str], dict[FrameTime, list[LabelledFrame | Example]]] = {}
        shown: list[LabelledFrame | Example] = [*digest.overview, *examples]
        for each in shown:
            frame = each.frame if isinstance(each, Example) else each
            part = wanted.setdefault((frame.item.part, frame.item.topic), {})
            part.setdefault(frame.time, []).append(each)
        for (part_, topic), times in wanted.items():
            self._read(part_, topic, times)

    def _read(
        self, part: Part, topic: str, wanted: dict[FrameTime, list[LabelledFrame | Example]]
    ) -> None:
        """Make the pictures of a file's images. Images that are gone have none."""
        try:
            with open_part(part, topic) as reader:
                for stored in reader.frames(sorted(wanted), together=False):
                    for each in wanted[stored.time] if stored.image is not None else ():
                        assert stored.image is not None
                        if isinstance(each, Example):
                            key = (each.frame.name, each.segment.box)
                            self._crops[key] = _uri(_crop(stored.image, each))
                        else:
                            self._whole[each.name] = _uri(_reduced(stored.image, each))
        except ImageError:
            return

    def whole(self, frame: LabelledFrame) -> Picture:
        """Return the picture of an image with its masks."""
        return Picture(self._whole.get(frame.name, ""), self._when(frame))

    def example(self, example: Example) -> Picture:
        """Return the picture of an object."""
        segment, frame = example.segment, example.frame
        name = f"{segment.name}/{segment.id}" if segment.id else segment.name
        uri = self._crops.get((frame.name, segment.box), "")
        return Picture(uri, f"{segment.score:.3f}  {name}  {self._when(frame)}")

    def _when(self, frame: LabelledFrame) -> str:
        """Return bag and time of an image."""
        seconds = (frame.log_time - self._starts[frame.item.bag]) / 1e9
        return f"{frame.item.bag} at {seconds:.2f} s"


def _reduced(image: Rgb, frame: LabelledFrame) -> Rgb:
    """Return an image with its masks, :data:`WIDTH` wide."""
    assert frame.result is not None
    drawn = draw_segments(image, frame.result.segments)
    height = max(1, round(WIDTH * drawn.shape[0] / drawn.shape[1]))
    return np.asarray(cv2.resize(drawn, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _crop(image: Rgb, example: Example) -> Rgb:
    """Return an object with its mask and what is round it, :data:`CROP_HEIGHT` high."""
    box = example.segment.box
    right, down = round(MARGIN * box.width) + 8, round(MARGIN * box.height) + 8
    drawn = draw_segments(image, [example.segment], with_names=False)
    part = drawn[
        max(0, box.y - down) : box.y + box.height + down,
        max(0, box.x - right) : box.x + box.width + right,
    ]
    width = max(1, min(4 * CROP_HEIGHT, round(CROP_HEIGHT * part.shape[1] / part.shape[0])))
    shrinks = part.shape[0] > CROP_HEIGHT
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(
        cv2.resize(part, (width, CROP_HEIGHT), interpolation=interpolation), np.uint8
    )


def _uri(picture: Rgb) -> str:
    """Return a picture as part of a page."""
    return jpeg_uri(encode_image(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]))


def jpeg_uri(data: bytes) -> str:
    """Return a JPEG as part of a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
