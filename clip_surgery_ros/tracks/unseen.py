"""What a view says of tracks that were not found in it."""

from __future__ import annotations

from collections.abc import Sequence

from clip_surgery_ros.tracks.association import Sought, mask_iou
from clip_surgery_ros.tracks.image_motion import ImageBox, ImageMotion
from clip_surgery_ros.tracks.sight import Sight, share_inside
from clip_surgery_ros.tracks.track import Look, Track
from clip_surgery_ros.tracks.types import Observation, State, View

COVERED = 0.5
"""Share of a mask, or of a track's points, that another mask must cover to be at its place."""
Matches = dict[int, Track]


def miss(
    each: Sought,
    matches: Matches,
    observations: Sequence[Observation],
    stamp_ns: int,
    view: View,
    motion: ImageMotion,
) -> None:
    """Tell a track that was not found what a view shows of its place.

    :param matches: the tracks that were found, by the observations' indices.
    """
    track = each.track
    taken = _taken_by(each, matches, observations, view.camera)
    is_there = each.sight is not None and each.sight.stays and taken is None
    if each.sight is not None:
        state, reason, is_empty = _in_space(each, each.sight, matches, observations)
    elif track.image.get(view.camera) is not None:
        state, reason, is_empty = _in_image(track, view, motion, stamp_ns)
    else:
        return
    if taken is not None and state is State.MISSED:
        reason, is_empty = f"{_name(taken)} is at its place", True
    track.miss(view.camera, Look(stamp_ns, state, reason), is_empty, is_there)


def _taken_by(
    sought: Sought, matches: Matches, observations: Sequence[Observation], camera: str
) -> Track | None:
    """Return the track of the same label that is found where another one should be."""
    place, sight = sought.track.image.get(camera), sought.sight
    alike = (
        (observations[k], each) for k, each in matches.items() if each.label == sought.track.label
    )
    if sight is not None:
        visible = ~sight.hidden
        columns, rows = sight.columns[visible], sight.rows[visible]
        if not len(columns):
            return None
        covered = ((share_inside(columns, rows, o.box, o.mask), each) for o, each in alike)
    elif place is not None:
        covered = ((mask_iou(place.box, place.mask, o), each) for o, each in alike)
    else:
        return None
    return next((each for share, each in covered if share > COVERED), None)


def _in_space(
    sought: Sought, sight: Sight, matches: Matches, observations: Sequence[Observation]
) -> tuple[State, str, bool]:
    """Return state and reason of a track that was not found, by depth at its place, and whether
    the place is empty.
    """
    if sight.is_outside:
        return State.OUT_OF_VIEW, "its place is outside the picture", False
    if sight.is_hidden:
        front = _in_front(sight, matches, observations)
        what = _name(front) if front is not None else "something"
        return State.HIDDEN, f"behind {what}, {-sight.beyond:.2f} m in front of it", False
    if sight.is_empty and not sought.track.flat:
        return State.MISSED, f"depth at its place is {sight.beyond:.2f} m farther", True
    if sight.stays:
        return State.MISSED, "not found, although something is at its place", False
    return State.MISSED, "not found at its place", False


def _in_front(sight: Sight, matches: Matches, observations: Sequence[Observation]) -> Track | None:
    """Return the track that covers most of a hidden track's points, if one does."""
    columns, rows = sight.columns[sight.hidden], sight.rows[sight.hidden]
    for index, track in matches.items():
        box, mask = observations[index].box, observations[index].mask
        if share_inside(columns, rows, box, mask) > COVERED:
            return track
    return None


def _in_image(
    track: Track, view: View, motion: ImageMotion, stamp_ns: int
) -> tuple[State, str, bool]:
    """Return state and reason of a track that was not found, without depth, and whether its place
    is empty, which is not known.
    """
    place = track.image[view.camera]
    if not _is_in_picture(place.box, view.size_hw):
        return State.OUT_OF_VIEW, "its place is outside the picture", False
    if not place.sure:
        return State.OUT_OF_VIEW, "the camera moved, and it is not known by how much", False
    return State.MISSED, f"not found for {track.unseen_s(stamp_ns):.1f} s", False


def _is_in_picture(box: ImageBox, size_hw: tuple[int, int]) -> bool:
    """Return whether the middle of a box is inside the picture."""
    return 0 <= box.x < size_hw[1] and 0 <= box.y < size_hw[0]


def _name(track: Track) -> str:
    """Return label and number of a track, or what it is while it has none."""
    return f"{track.label}/{track.number}" if track.number else f"another {track.label}"
