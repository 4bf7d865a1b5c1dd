"""Drawings for people: overlays, maps, points, masks, and grids of panels with titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import inside_box
from clip_surgery_ros.core.masks import combined_map
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Segment

Rgb = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (0, 128, 128), (170, 110, 40),
)  # fmt: skip
"""Colours of labels, by index; easy to tell apart for most people (Trubetskoy's list)."""
MAX_PANEL_ASPECT = 4
"""Largest height of a panel, in widths: a portrait photograph has less than 2, and much taller
panels would fill the memory."""
_GREY_VALUES = np.arange(256, dtype=np.uint8)[:, None]
_BLUE_TO_RED = cv2.cvtColor(cv2.applyColorMap(_GREY_VALUES, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def overlay(image_rgb: Rgb, result: FrameResult) -> Rgb:
    """Draw the heatmap, masks, points and labels over the frame, for rviz.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :returns: (H, W, 3), a new array.
    """
    picture = blend_heatmap(image_rgb, combined_map(result), 0.35)
    picture = draw_segments(picture, result.segments, with_points=True)
    draw_absent(picture, [label.name for label in result.absent])
    return picture


def blend_heatmap(
    image_rgb: Rgb,
    values: NDArray[np.float32],
    strength: float = 0.55,
    value_range: tuple[float, float] | None = None,
) -> Rgb:
    """Blend a map into the image, from blue at its lowest to red at its highest value.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param values: (h, w) map; resized to the image's size, bilinear.
    :param strength: weight of the map's colours, 0 to 1.
    :param value_range: values drawn blue and red; None takes the map's lowest and highest.
    :returns: (H, W, 3), a new array.
    """
    low, high = value_range or (float(values.min()), float(values.max()))
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    grey = cv2.resize((255 * scaled).astype(np.uint8), image_rgb.shape[1::-1])
    colours = cv2.applyColorMap(grey, _BLUE_TO_RED)
    return cv2.addWeighted(image_rgb, 1 - strength, colours, strength, 0)


def map_picture(
    image_rgb: Rgb,
    similarity: NDArray[np.float32],
    value_range: tuple[float, float] | None = None,
) -> Rgb:
    """Draw one label's map over the image.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param similarity: (h, w) map of the label.
    :param value_range: values drawn blue and red; None takes the map's lowest and highest.
    :returns: (H, W, 3), a new array.

    >>> image_rgb = np.zeros((40, 60, 3), np.uint8)
    >>> similarity = np.array([[0, 0.1], [0.2, 0.9]], np.float32)
    >>> map_picture(image_rgb, similarity).shape
    (40, 60, 3)
    """
    return blend_heatmap(image_rgb, similarity, value_range=value_range)


def depth_picture(depth: NDArray[np.float32]) -> Rgb:
    """Draw depth: what is near is red, what is far blue, and where there is none black.

    :param depth: (H, W) metres, 0 where there is none.
    :returns: (H, W, 3), a new array.

    >>> depth_picture(np.array([[0.0, 0.5, 2.0]], np.float32))[0].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 0, 128]]
    """
    is_known = depth > 0
    if not is_known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    # By its inverse, as stereo measures it: what is near gets most of the colours.
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=is_known)
    far, near = np.percentile(inverse[is_known], (5, 99))
    levels = np.clip((inverse - far) / max(near - far, 1e-6), 0, 1)
    colours = cv2.applyColorMap((255 * levels).astype(np.uint8), _BLUE_TO_RED)
    return np.where(is_known[..., None], colours, 0).astype(np.uint8)


def threshold_picture(image_rgb: Rgb, similarity: NDArray[np.float32], share: float) -> Rgb:
    """Darken the image where one label's (h, w) map is below a threshold.

    :param share: threshold as a share of the map's range, 0 to 1.
    :returns: (H, W, 3), a new array.
    """
    low, high = float(similarity.min()), float(similarity.max())
    full_size = cv2.resize(similarity, image_rgb.shape[1::-1])
    threshold = low + share * (high - low)
    above = full_size >= threshold if high > low else np.zeros_like(full_size, np.bool_)
    picture = image_rgb // 4
    picture[above] = image_rgb[above]
    return picture


def draw_segments(
    image_rgb: Rgb,
    segments: Iterable[Segment],
    with_points: bool = False,
    with_names: bool = True,
) -> Rgb:
    """Draw tinted masks with outlines, names and scores.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param with_points: draw the prompt points too, below the names.
    :param with_names: draw names and scores.
    :returns: (H, W, 3), a new array.

    >>> image_rgb = np.zeros((40, 60, 3), np.uint8)
    >>> point = PointPrompts(np.array([[15, 25]], np.int32), np.array([True]))
    >>> mask = np.ones((8, 10), np.bool_)
    >>> mug = Segment(1, 0, "mug", 0.9, 0.9, 0.5, 0.8, Box(10, 20, 10, 8), mask, point)
    >>> picture = draw_segments(image_rgb, [mug])
    >>> bool(picture[25, 15].any()), bool(picture[38, 2].any())
    (True, False)
    """
    picture = image_rgb.copy()
    drawn = list(segments)
    for segment in drawn:
        _tint(picture, segment)
    for segment in drawn if with_points else ():
        draw_points(picture, segment.points)
    captions: list[Box] = []
    for segment in (
        drawn if with_names else ()
    ):  # above all tints and points, so that none hides a name
        text = f"{segment.name} {segment.score:.2f}"
        corner = (segment.box.x, segment.box.y)
        colour = colour_of(segment.label)
        captions.append(_draw_caption(picture, text, corner, colour, captions))
    return picture


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a label by its index in the query."""
    return PALETTE[label % len(PALETTE)]


def draw_points(picture: Rgb, points: PointPrompts) -> None:
    """Draw prompt points into the picture: positive ones green, negative ones red, with a white
    ring.
    """
    radius = max(2, min(picture.shape[:2]) // 90)
    for (x, y), positive in zip(points.xy.tolist(), points.positive.tolist(), strict=True):
        cv2.circle(picture, (x, y), radius + 1, _PAPER, -1, cv2.LINE_AA)
        colour = (30, 170, 60) if positive else (215, 40, 40)
        cv2.circle(picture, (x, y), radius, colour, -1, cv2.LINE_AA)


def draw_absent(picture: Rgb, names: Sequence[str]) -> None:
    """Write the names of what was not found into the picture, along its bottom edge."""
    if names:
        text = "not found: " + ", ".join(names)
        _draw_caption(picture, text, (0, picture.shape[0] - 1), (70, 70, 70))


def panel_grid(panels: Sequence[tuple[str, Rgb]], columns: int = 4, width: int = 320) -> Rgb:
    """Arrange panels with titles in rows of ``columns``, on white.

    :param panels: title and (H, W, 3) picture of each.
    :param width: of each panel in pixels; its picture is scaled to it.
    :returns: (H', W', 3) uint8 RGB.
    """
    cells = [_cell(title, picture, width) for title, picture in panels]
    tallest = max(cell.shape[0] for cell in cells)
    blank = np.full((tallest, cells[0].shape[1], 3), 255, np.uint8)
    cells = [_pad_bottom(cell, tallest) for cell in cells]
    cells += [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)


def _tint(picture: Rgb, segment: Segment) -> None:
    """Blend the label's colour into the mask and draw the mask's outline."""
    box, colour = segment.box, colour_of(segment.label)
    part = inside_box(picture, box)
    inside = segment.mask.astype(np.uint8)
    half_colour = tuple(value / 2 for value in (*colour, 0))
    tinted = cv2.add(cv2.convertScaleAbs(part, alpha=0.5), half_colour)
    cv2.copyTo(tinted, inside, part)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(1, min(picture.shape[:2]) // 240)
    cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA, offset=(box.x, box.y))


def _draw_caption(
    picture: Rgb,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    others: Sequence[Box] = (),
) -> Box:
    """Write text on a filled box, above ``corner`` if there is room, and inside the picture.

    :param corner: (x, y) of the box's lower left corner.
    :param others: boxes of other captions; the new one moves down to avoid them, if it can.
    :returns: the caption's box.
    """
    height, width = picture.shape[:2]
    scale = max(0.4, min(height, width) / 900)
    (text_width, text_height), baseline = cv2.getTextSize(_to_ascii(text), _FONT, scale, 1)
    box_width, box_height = text_width + 4, text_height + baseline + 4
    x = int(np.clip(corner[0], 0, max(0, width - box_width)))
    bottom = int(np.clip(corner[1], box_height, height))
    bottom = _free_bottom(x, bottom, (box_width, box_height), others, height)
    cv2.rectangle(picture, (x, bottom - box_height), (x + box_width, bottom), colour, -1)
    ink = _INK if sum(colour) > 420 else _PAPER
    origin = (x + 2, bottom - baseline - 1)
    cv2.putText(picture, _to_ascii(text), origin, _FONT, scale, ink, 1, cv2.LINE_AA)
    return Box(x, bottom - box_height, box_width, box_height)


def _free_bottom(
    x: int, bottom: int, size: tuple[int, int], others: Sequence[Box], limit: int
) -> int:
    """Return the first bottom row, from ``bottom`` down to ``limit``, at which a box overlaps no
    other; ``bottom`` itself where there is none.

    :param size: width and height of the box.
    """
    width, height = size
    beside = [box for box in others if x <= box.x + box.width and box.x <= x + width]
    below = sorted(box.y + box.height + height + 1 for box in beside)
    for row in [bottom, *(row for row in below if bottom < row <= limit)]:
        if all(row < box.y or box.y + box.height < row - height for box in beside):
            return row
    return bottom


def _cell(title: str, picture: Rgb, width: int) -> Rgb:
    """Return a picture below its title, with a margin, scaled to ``width``; a picture taller than
    :data:`MAX_PANEL_ASPECT` becomes narrower.
    """
    scale = min(width / picture.shape[1], MAX_PANEL_ASPECT * width / picture.shape[0])
    height, scaled_width = (max(1, round(side * scale)) for side in picture.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (scaled_width, height), interpolation=interpolation)
    cell = np.full((height + 34, width + 12, 3), 255, np.uint8)
    cell[28 : 28 + height, 6 : 6 + scaled_width] = scaled
    cv2.putText(cell, _to_ascii(title), (8, 20), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return cell


def _pad_bottom(cell: Rgb, height: int) -> Rgb:
    """Add white rows below a cell."""
    return np.pad(cell, ((0, height - cell.shape[0]), (0, 0), (0, 0)), constant_values=255)


def _to_ascii(text: str) -> str:
    """Replace what OpenCV's fonts cannot draw, all but ASCII, by ?."""
    return text.encode("ascii", "replace").decode()
