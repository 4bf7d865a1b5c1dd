"""Pictures for people: overlays, maps, points, masks, and strips of them with titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.masks import combined_map
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Segment

Rgb = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (0, 128, 128), (170, 110, 40),
)  # fmt: skip
"""Colours of labels, by index; far apart for most eyes (Trubetskoy's list)."""
TALLEST = 4
"""Height of a panel in widths: a photograph on end has not quite 2, and what is taller than this
would fill the memory."""
_LEVELS = np.arange(256, dtype=np.uint8)[:, None]
_BLUE_TO_RED = cv2.cvtColor(cv2.applyColorMap(_LEVELS, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def overlay(image_rgb: Rgb, result: FrameResult) -> Rgb:
    """The frame with heatmap, masks, points and labels, for rviz.

    :returns: (H, W, 3), a new array.
    """
    picture = heat(image_rgb, combined_map(result), 0.35)
    picture = draw_segments(picture, result.segments, with_points=True)
    draw_absent(picture, [label.name for label in result.absent])
    return picture


def heat(
    image_rgb: Rgb,
    values: NDArray[np.float32],
    strength: float = 0.55,
    value_range: tuple[float, float] | None = None,
) -> Rgb:
    """The image under a (h, w) map, from blue at its lowest to red at its highest value.

    :param values: of any size; brought to the image's, bilinear.
    :param value_range: lowest and highest value; None takes the map's own.
    """
    low, high = value_range or (float(values.min()), float(values.max()))
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    levels = cv2.resize((255 * scaled).astype(np.uint8), image_rgb.shape[1::-1])
    colours = cv2.applyColorMap(levels, _BLUE_TO_RED)
    return cv2.addWeighted(image_rgb, 1 - strength, colours, strength, 0)


def map_picture(
    image_rgb: Rgb,
    similarity: NDArray[np.float32],
    value_range: tuple[float, float] | None = None,
) -> Rgb:
    """The image under one label's (h, w) map.

    :param value_range: values drawn as nothing and as red; None stretches the map to its own.
    """
    return heat(image_rgb, similarity, value_range=value_range)


def cut_picture(image_rgb: Rgb, similarity: NDArray[np.float32], share: float) -> Rgb:
    """The image where one label's (h, w) map reaches this share of its range; the rest darkened.

    :param share: 0 to 1.
    """
    low, high = float(similarity.min()), float(similarity.max())
    large = cv2.resize(similarity, image_rgb.shape[1::-1])
    above = large >= low + share * (high - low) if high > low else np.zeros_like(large, np.bool_)
    picture = image_rgb // 4
    picture[above] = image_rgb[above]
    return picture


def draw_segments(image_rgb: Rgb, segments: Iterable[Segment], with_points: bool = False) -> Rgb:
    """Tinted masks with outlines, names and scores; a new array.

    :param with_points: draw the prompt points too, below the names.
    """
    picture = image_rgb.copy()
    kept = list(segments)
    for segment in kept:
        _tint(picture, segment)
    for segment in kept if with_points else ():
        draw_points(picture, segment.points)
    taken: list[Box] = []
    for segment in kept:  # above all tints and points, so that none hides a name
        caption = f"{segment.name} {segment.score:.2f}"
        corner = (segment.box.x, segment.box.y)
        taken.append(_tag(picture, caption, corner, colour_of(segment.label), taken))
    return picture


def colour_of(label: int) -> tuple[int, int, int]:
    """Colour of a label's index."""
    return PALETTE[label % len(PALETTE)]


def draw_points(picture: Rgb, points: PointPrompts) -> None:
    """Prompt points in place: green inside, red outside, ringed in white."""
    radius = max(2, min(picture.shape[:2]) // 90)
    for (x, y), positive in zip(points.xy.tolist(), points.positive.tolist(), strict=True):
        cv2.circle(picture, (x, y), radius + 1, _PAPER, -1, cv2.LINE_AA)
        colour = (30, 170, 60) if positive else (215, 40, 40)
        cv2.circle(picture, (x, y), radius, colour, -1, cv2.LINE_AA)


def draw_absent(picture: Rgb, names: Sequence[str]) -> None:
    """Name what was not found, along the bottom, in place."""
    if names:
        _tag(picture, "not found: " + ", ".join(names), (0, picture.shape[0] - 1), (70, 70, 70))


def strip(panels: Sequence[tuple[str, Rgb]], columns: int = 4, width: int = 320) -> Rgb:
    """Panels with titles, in rows of ``columns``, on white.

    :param panels: title and (H, W, 3) picture; scaled to ``width`` each.
    """
    cells = [_cell(title, picture, width) for title, picture in panels]
    tallest = max(cell.shape[0] for cell in cells)
    blank = np.full((tallest, cells[0].shape[1], 3), 255, np.uint8)
    cells = [_padded(cell, tallest) for cell in cells]
    cells += [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)


def _tint(picture: Rgb, segment: Segment) -> None:
    box, colour = segment.box, colour_of(segment.label)
    part = picture[box.y : box.y + box.height, box.x : box.x + box.width]
    inside = segment.mask.astype(np.uint8)
    half = tuple(value / 2 for value in (*colour, 0))
    tinted = cv2.add(cv2.convertScaleAbs(part, alpha=0.5), half)
    cv2.copyTo(tinted, inside, part)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(1, min(picture.shape[:2]) // 240)
    cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA, offset=(box.x, box.y))


def _tag(
    picture: Rgb,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    taken: Sequence[Box] = (),
) -> Box:
    """Text on a plate that sits above ``corner`` where it can, and stays inside the picture.

    :param taken: plates that it keeps clear of where there is room below them.
    :returns: its plate.
    """
    height, width = picture.shape[:2]
    scale = max(0.4, min(height, width) / 900)
    (wide, tall), base = cv2.getTextSize(_ascii(text), _FONT, scale, 1)
    x = int(np.clip(corner[0], 0, max(0, width - wide - 4)))
    high = tall + base + 4
    first = int(np.clip(corner[1], high, height))
    y = _clear(x, first, (wide + 4, high), taken, height)
    cv2.rectangle(picture, (x, y - high), (x + wide + 4, y), colour, -1)
    ink = _INK if sum(colour) > 420 else _PAPER
    cv2.putText(picture, _ascii(text), (x + 2, y - base - 1), _FONT, scale, ink, 1, cv2.LINE_AA)
    return Box(x, y - high, wide + 4, high)


def _clear(x: int, y: int, size: tuple[int, int], taken: Sequence[Box], height: int) -> int:
    """Bottom row, from ``y`` down, of a plate (width, height) clear of those taken; else ``y``."""
    wide, high = size
    beside = [box for box in taken if x <= box.x + box.width and box.x <= x + wide]
    below = sorted(box.y + box.height + high + 1 for box in beside)
    for bottom in [y, *(b for b in below if y < b <= height)]:
        if all(bottom < box.y or box.y + box.height < bottom - high for box in beside):
            return bottom
    return y


def _cell(title: str, picture: Rgb, width: int) -> Rgb:
    """A picture scaled to ``width`` below its title, with a margin; a very tall one narrower."""
    scale = min(width / picture.shape[1], TALLEST * width / picture.shape[0])
    height, wide = (max(1, round(side * scale)) for side in picture.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (wide, height), interpolation=interpolation)
    cell = np.full((height + 34, width + 12, 3), 255, np.uint8)
    cell[28 : 28 + height, 6 : 6 + wide] = scaled
    cv2.putText(cell, _ascii(title), (8, 20), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return cell


def _padded(cell: Rgb, height: int) -> Rgb:
    return np.pad(cell, ((0, height - cell.shape[0]), (0, 0), (0, 0)), constant_values=255)


def _ascii(text: str) -> str:
    """OpenCV's fonts draw ASCII only; the rest is shown as ?."""
    return text.encode("ascii", "replace").decode()
