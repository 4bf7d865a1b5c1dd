"""Ids that last: exact tabletops, whose truth is known, seen over time."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from tabletop import LABELS, TWINS, Cuboid, Shot, Watch, looking, orbit, shot

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.space.boxes import box_of
from clip_surgery_ros.tracks.boxes import TrackBoxes
from clip_surgery_ros.tracks.cloud import MOST
from clip_surgery_ros.tracks.tracker import MOST_TRACKS, Tracker
from clip_surgery_ros.tracks.types import NO_ID, Observation, State, TrackSettings, View


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize("rate", [0.2, 0.5, 2.0, 10.0, 30.0])
def test_still_camera_keeps_ids_at_every_rate(rate: float, with_depth: bool) -> None:
    watch = Watch()
    for k in range(8):
        watch.see(k / rate, shot(TWINS, with_depth=with_depth))
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]
    assert {len(given) for given in watch.numbers.values()} == {7}  # all frames but the first


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
def test_circling_camera_keeps_ids_of_alike_objects(rate: float) -> None:
    watch = Watch()
    for k in range(int(8 * rate) + 1):
        watch.see(k / rate, shot(TWINS, orbit(25 * k / rate)))
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]


@pytest.mark.parametrize("rate", [2.0, 10.0])
def test_lost_detections_do_not_change_ids(rate: float) -> None:
    rng = np.random.default_rng(3)
    watch = Watch()
    for k in range(int(8 * rate) + 1):
        lost = [thing for thing in TWINS if rng.random() < 0.25]
        watch.see(k / rate, shot(TWINS, orbit(25 * k / rate)).without(*lost))
    assert len(watch.lasting()) == 4


def test_neighbour_does_not_take_the_id_of_an_object_that_was_not_found() -> None:
    watch = Watch()
    first = {1: TWINS[1], 2: TWINS[1].at(-0.04, 0.0)}  # a centimetre apart
    for k in range(3):
        watch.see(k / 2, shot(first).without(2))
    watch.see(1.5, shot(first).without(1))
    assert watch.see(2.0, shot(first).without(1)) == {2: 2}


@pytest.mark.parametrize("with_depth", [True, False])
def test_carried_object_keeps_its_id(with_depth: bool) -> None:
    watch = Watch()
    for k in range(25):
        x = -0.12 + 0.02 * max(0, k - 4)  # 0.2 m/s
        things = {**TWINS, 1: TWINS[1].at(x, -0.12, 0.05)}
        watch.see(k / 10, shot(things, with_depth=with_depth))
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]


def test_twins_that_change_places_by_hand_keep_their_ids() -> None:
    watch = Watch()
    for k in range(60):
        angle = np.pi * np.clip((k / 10 - 1) / 4, 0, 1)  # half a circle in 4 s
        x, y = 0.1 * np.cos(angle), 0.1 * np.sin(angle)
        things = {1: TWINS[1].at(x, y), 2: TWINS[1].at(-x, -y)}
        watch.see(k / 10, shot(things))
    assert sorted(watch.lasting().values()) == [1, 2]


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
def test_object_put_elsewhere_takes_its_id_along(rate: float) -> None:
    watch = Watch()
    alone = {4: TWINS[4]}
    for k in range(5):
        watch.see(k / rate, shot(alone))
    away = 4 / rate + 6
    for k in range(4):
        watch.see(away - (3 - k) / rate, shot({}))
    for k in range(1, 4):
        watch.see(away + k / rate, shot({4: TWINS[4].at(-0.2, -0.1)}))
    assert watch.lasting() == {4: 1}


def test_second_object_elsewhere_gets_an_id_of_its_own() -> None:
    watch = Watch()
    for k in range(4):
        watch.see(k / 2, shot({1: TWINS[1]}))
    both = {1: TWINS[1], 2: TWINS[3]}
    for k in range(4, 8):
        watch.see(k / 2, shot(both).without(*([1] if k == 4 else [])))
    assert watch.lasting() == {1: 1, 2: 2}


def test_two_parts_of_a_divided_object_do_not_become_two() -> None:
    watch = Watch()
    for k in range(4):
        watch.see(k / 2, shot({1: TWINS[1]}))
    rod = Cuboid(0.1, -0.06, (0.012, 0.012, 0.5), "")
    divided = shot({1: TWINS[1], 2: rod})
    whole = divided.found[1]
    halves = []
    for part in (slice(0, whole.box.width // 2), slice(whole.box.width // 2, None)):
        mask = np.zeros_like(whole.mask)
        mask[:, part] = whole.mask[:, part]
        inside = mask[whole.mask]
        halves.append(Observation("mug", whole.box, mask, 0.8, 0.95, whole.points[inside]))
    for k in range(4, 8):
        numbers = watch.tracker.update(round(k / 2 * 1e9), divided.view, halves, LABELS).numbers
        assert sorted(numbers) == [NO_ID, 1]


def test_other_label_at_the_same_place_has_its_own_id() -> None:
    watch = Watch()
    thing = {1: TWINS[1]}
    for k in range(2):
        watch.see(k / 2, shot(thing), ("mug",))
    seen = shot({1: Cuboid(-0.12, 0.0, label="cup")})
    for k in range(2, 4):
        watch.see(k / 2, seen, ("cup",))
    assert {state.id for state in watch.tracker.states()} == {"mug/1", "cup/2"}


def test_two_cameras_share_one_set_of_objects() -> None:
    watch = Watch()
    for k in range(6):
        left, right = shot(TWINS, orbit(0), "left"), shot(TWINS, orbit(90), "right")
        watch.see(k / 2, left)
        watch.see(k / 2 + 0.1, right)
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]
    assert {state.state.value for state in watch.frame.tracks} == {"seen"}


def test_object_that_only_one_of_two_cameras_sees_is_seen() -> None:
    watch = Watch()
    away = shot({}, looking((0.5, 5.0, 0.5), (0.0, 5.0, 0.0)), "right")
    for k in range(6):
        watch.see(k / 2, shot(TWINS, camera="left"))
        watch.see(k / 2 + 0.1, away)
    assert {state.state.value for state in watch.frame.tracks} == {"seen"}


@pytest.mark.parametrize("rate", [2.0, 10.0])
def test_box_grows_to_the_true_one_on_an_orbit(rate: float) -> None:
    watch = Watch()
    errors = []
    for k in range(int(60 / 25 * rate) + 1):
        watch.see(k / rate, shot(TWINS, orbit(25 * k / rate)))
        if not watch.frame.tracks[0].number:
            continue
        (state,) = watch.tracker.locate("box")
        box = box_of(state.points, "upright", np.array([0, 0, 1.0]), None)
        truth = TWINS[4]
        size = np.sort(box.size[:2])[::-1]
        errors.append((np.linalg.norm(box.centre[:2] - truth.centre[:2]), size - truth.size[:2]))
    assert errors[-1][0] < 0.008
    assert np.abs(errors[-1][1] / TWINS[4].size[:2]).max() < 0.08
    assert np.abs(errors[-1][1]).max() <= np.abs(errors[0][1]).max() + 1e-3


def test_points_of_a_carried_object_follow_it() -> None:
    watch = Watch()
    for k in range(30):
        x = -0.2 + 0.015 * k
        watch.see(k / 10, shot({1: TWINS[1].at(x, 0.0)}))
    (state,) = watch.tracker.locate("mug/1")
    low, high = np.quantile(state.points[:, 0], [0.02, 0.98])
    assert high == pytest.approx(x + 0.035, abs=0.02)
    assert low > -0.2 + 0.1  # those of where it was first are dropped


def test_appearance_decides_between_two_lost_objects() -> None:
    red, blue = np.eye(2, dtype=np.float32)
    looks = {1: red, 2: blue}

    def dressed(things: dict[int, Cuboid]) -> Shot:
        plain = shot(things)
        found = {k: replace_appearance(o, looks[k]) for k, o in plain.found.items()}
        return Shot(plain.view, found)

    watch = Watch()
    for k in range(3):
        watch.see(k / 2, dressed({1: TWINS[1], 2: TWINS[3]}))
    for k in range(3, 9):
        watch.see(k / 2, shot({}))
    for k in range(9, 12):  # each is put where the other one was nearer
        watch.see(k / 2, dressed({1: TWINS[3].at(0.2, 0.2), 2: TWINS[1].at(-0.25, -0.15)}))
    assert watch.lasting() == {1: 1, 2: 2}


def replace_appearance(observation: Observation, appearance: np.ndarray) -> Observation:
    values = {name: getattr(observation, name) for name in observation.__dataclass_fields__}
    return Observation(**{**values, "appearance": appearance})


@pytest.mark.slow
def test_ten_thousand_objects_leave_neither_tracks_nor_memory() -> None:
    tracker, boxes = Tracker(TrackSettings(memory_s=15.0)), TrackBoxes("axis_aligned")
    base = shot({1: TWINS[1]})
    values = {**vars(base.found[1]), "presence": 0.95}
    rng = np.random.default_rng(0)
    used: list[int] = []
    tracemalloc.start()
    for k in range(500):
        centres = 5.0 * np.arange(20 * k + 1, 20 * k + 21)  # somewhere else each time
        observations = [
            Observation(**{**values, "points": [x, 0.0, 0.0] + 0.1 * rng.random((100, 3))})
            for x in centres
        ]
        frame = tracker.update(k * 10_000_000_000, base.view, observations, ("mug",))
        assert frame.numbers == tuple(range(20 * k + 1, 20 * k + 21))  # none twice
        remembered = [state for state in frame.tracks if state.state is not State.FORGOTTEN]
        assert len(remembered) == 20 * min(k + 1, 2)  # those of the last 15 s
        for state in remembered:
            boxes.of(state.number, state.points)
        if k % 50 == 49:
            gc.collect()  # empties Python's own lists of freed objects
            used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # The first thousand fill what is kept: tracks, and boxes of forgotten ones.
    assert max(used[1:]) < 1.05 * used[0]


def test_points_of_a_track_are_limited() -> None:
    watch = Watch()
    wall = {1: Cuboid(-0.2, 0.0, (0.3, 1.2, 0.6))}
    for k in range(30):
        watch.see(k / 10, shot(wall, orbit(3 * k)))
    (state,) = watch.frame.tracks
    assert len(state.points) == MOST


def test_crowd_is_limited_to_so_many_tracks() -> None:
    tracker = Tracker()
    base = shot({1: TWINS[1]})
    mug = base.found[1]
    values = {name: getattr(mug, name) for name in mug.__dataclass_fields__}
    crowd = [
        Observation(**{**values, "presence": 0.95, "points": np.full((50, 3), 2.0 * k)})
        for k in range(MOST_TRACKS + 40)
    ]
    frame = tracker.update(0, base.view, crowd, ("mug",))
    assert len(tracker.states()) == MOST_TRACKS
    dropped = [state for state in frame.tracks if state.state.value == "forgotten"]
    assert len(dropped) == 40
    assert "more than 500" in dropped[0].reason


def test_depth_of_another_size_is_refused_in_words() -> None:
    view = shot({}).view
    with pytest.raises(SpaceError, match=r"depth of 160 x 120 .* 320 x 240"):
        View("camera", (240, 320), view.depth, view.to_common)
