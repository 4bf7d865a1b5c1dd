"""What it costs to take an observation for a track: place first, then overlap, then looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import Box
from clip_surgery_ros.tracks.cloud import Points, distance, thinned
from clip_surgery_ros.tracks.estimates import likeness
from clip_surgery_ros.tracks.image_motion import ImageBox
from clip_surgery_ros.tracks.sight import NOWHERE, DepthLook, Sight, share_inside
from clip_surgery_ros.tracks.surface import SAME
from clip_surgery_ros.tracks.track import Track
from clip_surgery_ros.tracks.types import Observation, TrackSettings

PLACE, OVERLAP = 0.6, 0.4
"""Weights of distance and of overlap, measured on the rendered world."""
LOOKS = 0.2
"""Weight of a difference in appearance: alike objects look alike, so it decides little."""
UNLIKE = 0.63
"""Cosine of two appearances below which objects are different; dimos takes it for CLIP."""
GROWS_S = 2.0
"""Seconds for which the gate grows."""
LEAST_OVERLAP = 0.3
"""Share of a resting track's visible points that an observation of it must cover."""
SEEN_POINTS = 96
"""Points of an observation that distances are computed with."""
LEAST_POINTS = 5
"""Points that an observation needs for a distance."""
LEAST_IOU = 0.1
"""Overlap of masks that is enough without depth, as in ByteTrack (Zhang et al. 2022)."""
REACH, REACH_UNSURE = 0.5, 1.0
"""How far an object may be from where it is expected in the picture, in its own sizes: with the
picture's motion known, or not."""
REACH_S = 0.15
"""By how much this grows for each second, in widths of the picture."""
LEAST_EXTENT = 0.4
"""Ratio of lengths below which an observation elsewhere is not of a track, with depth: of an
object of any shape, a view shows more than half of the length."""
LEAST_SIZE = 0.25
"""Ratio of areas below which two masks are not of one object, without depth."""
ENDS = ("low", "high")
OUTSIDE = Box(-2, -2, 1, 1)
"""Meets no box of a picture."""


@dataclass(frozen=True)
class Seen:
    """An observation, prepared.

    :param sample: (P, 3) some of its points in the common frame; None if it has too few.
    """

    observation: Observation
    sample: Points | None
    low: Points
    high: Points

    @classmethod
    def of(cls, observation: Observation) -> Seen:
        """Return the prepared observation."""
        points = observation.points
        if points is None or len(points) < LEAST_POINTS:
            none = np.zeros(3, np.float32)
            return cls(observation, None, none, none)
        sample = thinned(points, SEEN_POINTS)
        axes = np.ascontiguousarray(sample.T)
        return cls(observation, sample, axes.min(1), axes.max(1))


@dataclass(frozen=True)
class Sought:
    """A track as a view should show it.

    :param moved: (3,) by how much it moved since it was seen, as its velocity has it, metres.
    :param low: (3,) least coordinates of its points where they are expected now; ``high`` the
        greatest.
    :param sight: of its points where they were, if the view has depth.
    :param unseen_s: seconds since it was seen.
    """

    track: Track
    moved: Points
    low: Points
    high: Points
    sight: Sight | None
    unseen_s: float

    @cached_property
    def sample(self) -> Points:
        """(P, 3) some of its points where they are expected now, metres."""
        return self.track.surface.sample() + self.moved

    @property
    def stays(self) -> bool:
        """Whether depth shows that it did not move."""
        return self.sight is not None and self.sight.stays and not self.track.flat


def seek(tracks: Sequence[Track], look: DepthLook | None, stamp_ns: int) -> list[Sought]:
    """Return tracks as a view should show them, with depth or without."""
    sights = _sights(tracks, look)
    found = []
    for track, sight in zip(tracks, sights, strict=True):
        unseen_s, cloud = track.unseen_s(stamp_ns), track.surface.cloud
        moved = track.surface.offset(unseen_s)
        low, high = cloud.low + moved, cloud.high + moved
        found.append(Sought(track, moved, low, high, sight, unseen_s))
    return found


def _sights(tracks: Sequence[Track], look: DepthLook | None) -> list[Sight | None]:
    """Return what a view shows of a sample of each track's points; None of one without points."""
    sights: list[Sight | None] = [None] * len(tracks)
    placed = [k for k, track in enumerate(tracks) if len(track.points)]
    if look is None or not placed:
        return sights
    low, high = (np.stack([getattr(tracks[k].surface.cloud, end) for k in placed]) for end in ENDS)
    is_near = look.may_show(low, high)
    near = [k for k, each in zip(placed, is_near.tolist(), strict=True) if each]
    for k in placed:
        sights[k] = NOWHERE
    for k, sight in zip(
        near, look.sights([tracks[k].surface.sample() for k in near]), strict=True
    ):
        sights[k] = sight
    return sights


def costs(
    sought: Sequence[Sought],
    seen: Sequence[Seen],
    camera: str,
    width: int,
    settings: TrackSettings,
) -> NDArray[np.float64]:
    """Return :func:`cost` of each observation for each track, (N, M)."""
    table = np.full((len(seen), len(sought)), np.inf)
    if table.size == 0:
        return table
    # Far ones are left out at once: a robot remembers many objects, and most are far away.
    in_space = np.array([s.sight is not None for s in sought])
    near = np.where(
        in_space,
        _near_in_space(sought, seen, settings),
        _near_in_image(sought, seen, camera, width),
    )
    for row, column in np.argwhere(near).tolist():
        table[row, column] = cost(sought[column], seen[row], camera, width, settings)
    return table


def _near_in_space(
    sought: Sequence[Sought], seen: Sequence[Seen], settings: TrackSettings
) -> NDArray[np.bool_]:
    """Return which observations (N, M) may be of tracks, by the boxes of their points and, of
    tracks that did not move, by their boxes in the picture.
    """
    low, high = (np.stack([getattr(s, end) for s in sought]) for end in ENDS)
    first, last = (np.stack([getattr(s, end) for s in seen])[:, None] for end in ENDS)
    apart = np.maximum(low - last, first - high).max(2)
    has_place = np.array([each.sample is not None for each in seen])[:, None]
    stays = np.array([each.stays for each in sought])
    standing = [each.sight and each.sight.standing_box for each in sought]
    ours = np.array([_edges(box or OUTSIDE) for box in standing])
    theirs = np.array([_edges(each.observation.box) for each in seen])[:, None]
    meet = ((ours[:, :2] < theirs[..., 2:]) & (theirs[..., :2] < ours[:, 2:])).all(2)
    near = (apart <= [_gate(s, settings) for s in sought]) & (~stays | meet | (apart <= SAME))
    return np.asarray(~has_place | near)


def _edges(box: Box) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a box."""
    return box.x, box.y, box.x + box.width, box.y + box.height


def _near_in_image(
    sought: Sequence[Sought], seen: Sequence[Seen], camera: str, width: int
) -> NDArray[np.bool_]:
    """Return which observations (N, M) touch where tracks are in a camera's picture, or are
    within their reach.
    """
    nowhere = ImageBox(np.inf, np.inf, 1.0, 1.0)
    places = [s.track.image.get(camera) for s in sought]
    boxes = [nowhere if place is None else place.box for place in places]
    x, y, wide, high = np.array([(b.x, b.y, b.width, b.height) for b in boxes]).T
    own = np.array([(o.x, o.y, o.width, o.height) for o in (s.observation.box for s in seen)])
    left, top, own_wide, own_high = own.T[:, :, None]
    right, down = abs(left + own_wide / 2 - x), abs(top + own_high / 2 - y)
    # 1 as boxes are rounded.
    touches = (right <= (own_wide + wide) / 2 + 1) & (down <= (own_high + high) / 2 + 1)
    share, grows = np.array(
        [
            _reach(s, place is None or place.sure, width)
            for s, place in zip(sought, places, strict=True)
        ]
    ).T
    reach = share * np.sqrt(np.maximum(own_wide * own_high, wide * high)) + grows
    return np.asarray(touches | (np.hypot(right, down) <= reach))


def _reach(sought: Sought, is_sure: bool, width: int) -> tuple[float, float]:
    """Return how far from its place in the picture a track is looked for: in its own sizes, and
    pixels beside.

    :param is_sure: whether the picture's motion is known.
    :param width: of the picture, pixels.
    """
    grows = REACH_S * width * min(sought.unseen_s, GROWS_S)
    return (REACH, grows) if is_sure else (REACH_UNSURE, 2 * grows)


def cost(sought: Sought, seen: Seen, camera: str, width: int, settings: TrackSettings) -> float:
    """Return the cost, 0 to 1, of an observation for a track of its label; infinite if it cannot
    be of it.

    :param camera: of the observation.
    :param width: of its picture, pixels.
    """
    if sought.sight is not None:
        value = _in_space(sought, sought.sight, seen, settings)
    else:
        value = _in_image(sought, seen.observation, camera, width)
    if value == np.inf:
        return value
    alike = likeness(sought.track.appearance, seen.observation.appearance)
    if alike is not None:
        value += LOOKS * min(1.0, max(0.0, 1 - alike))
    return min(value, 0.999)


def _in_space(sought: Sought, sight: Sight, seen: Seen, settings: TrackSettings) -> float:
    """Return the cost by place in space.

    A track whose surface is still measured at its place did not move: what covers it in the
    image is the track, and what does not is another object, however near it is.
    """
    observation = seen.observation
    overlap = 0.0
    if sight.standing_box is not None and _meet(sight.standing_box, observation.box):
        overlap = share_inside(*sight.standing, observation.box, observation.mask)
    if seen.sample is None:
        return 0.5 + OVERLAP * (1 - overlap) if overlap >= LEAST_OVERLAP else float(np.inf)
    gate = _gate(sought, settings)
    if sought.stays and overlap < LEAST_OVERLAP and _gap(sought, seen) > SAME:
        return float(np.inf)  # the distance is no less than the gap, and takes longer
    if overlap < LEAST_OVERLAP and _is_too_small(sought, seen):
        return float(np.inf)
    far = distance(seen.sample, sought.sample)
    if far > gate or (sought.stays and overlap < LEAST_OVERLAP and far > SAME):
        return float(np.inf)
    return PLACE * far / gate + OVERLAP * (1 - overlap)


def _is_too_small(sought: Sought, seen: Seen) -> bool:
    """Return whether an observation is of something much smaller than a track. Of an object that
    something cuts, any size may be seen.
    """
    if seen.observation.partial or sought.track.partial:
        return False
    ours = float(np.linalg.norm(seen.high - seen.low))
    return ours < LEAST_EXTENT * sought.track.surface.extent


def _meet(a: Box, b: Box) -> bool:
    """Return whether two boxes have a pixel in common."""
    across = a.x < b.x + b.width and b.x < a.x + a.width
    return across and a.y < b.y + b.height and b.y < a.y + a.height


def _gap(sought: Sought, seen: Seen) -> float:
    """Return by how much the points of a track and of an observation are apart along an axis."""
    return float(np.maximum(sought.low - seen.high, seen.low - sought.high).max())


def _gate(sought: Sought, settings: TrackSettings) -> float:
    """Return how far from a track's points an observation of it may be on average, metres.

    It does not grow while something hides the track, or what is found in front would take its id.
    """
    if sought.stays:  # another side of it
        return settings.gate_m + float((sought.high - sought.low).max()) / 2
    if sought.sight is not None and sought.sight.is_hidden:
        return settings.gate_m
    return settings.gate_m + settings.speed_m_s * min(sought.unseen_s, GROWS_S)


def _in_image(sought: Sought, observation: Observation, camera: str, width: int) -> float:
    """Return the cost by overlap and distance in a camera's picture."""
    place = sought.track.image.get(camera)
    if place is None:
        return float(np.inf)
    box = observation.box
    x, y = box.x + box.width / 2 - place.box.x, box.y + box.height / 2 - place.box.y
    away, held = math.hypot(x, y), place.box.width * place.box.height
    area = float(np.count_nonzero(observation.mask))
    grown = held / place.mask.size
    size = area / max(1.0, float(np.count_nonzero(place.mask)) * grown)
    size = min(size, 1 / max(size, 1e-6))
    iou = mask_iou(place.box, place.mask, observation)
    share, grows = _reach(sought, place.sure, width)
    reach = share * math.sqrt(max(area, held)) + grows
    if iou < LEAST_IOU and (away > reach or size < LEAST_SIZE):
        return float(np.inf)
    return float(0.6 * (1 - iou) + 0.3 * min(1.0, away / reach) + 0.1 * (1 - size))


def mask_iou(place: ImageBox, mask: NDArray[np.bool_], observation: Observation) -> float:
    """Return the overlap of an observation with a mask that is stretched to a box."""
    box = observation.box
    left, top = round(place.x - place.width / 2), round(place.y - place.height / 2)
    wide, high = max(1, round(place.width)), max(1, round(place.height))
    x0, y0 = max(left, box.x), max(top, box.y)
    x1, y1 = min(left + wide, box.x + box.width), min(top + high, box.y + box.height)
    if x1 <= x0 or y1 <= y0:
        return 0.0
    fitted = mask
    if mask.shape != (high, wide):
        fitted = cv2.resize(mask.view(np.uint8), (wide, high)) > 0
    ours = fitted[y0 - top : y1 - top, x0 - left : x1 - left]
    theirs = observation.mask[y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x]
    common = np.count_nonzero(ours & theirs)
    union = np.count_nonzero(fitted) + np.count_nonzero(observation.mask) - common
    return common / union if union else 0.0
