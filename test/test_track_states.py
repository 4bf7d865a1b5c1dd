"""What the tracker says of objects that are not seen, and how long it remembers them."""

from __future__ import annotations

import numpy as np
import pytest
from tabletop import TWINS, Cuboid, Watch, looking, orbit, shot

from clip_surgery_ros.core.types import Box, PointPrompts, Segment
from clip_surgery_ros.space.lifting import lift
from clip_surgery_ros.tracks.estimates import RunningMean
from clip_surgery_ros.tracks.numbers import Numbers
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import NO_ID, Observation, State, TrackSettings

MUG = {1: TWINS[2]}
AWAY = looking((0.55, -0.3, 0.5), (0.55, -3.0, 0.4))
BOARD = Cuboid(0.28, -0.15, (0.02, 0.5, 0.6), "")
"""Between camera and objects."""


def watch_mug(seconds: float = 2.0, *, with_depth: bool = True) -> Watch:
    """Return a watch that saw a mug at 2 Hz until just before a time."""
    watch = Watch()
    for k in range(round(seconds * 2)):
        watch.see(k / 2, shot(MUG, with_depth=with_depth))
    return watch


def test_object_is_tentative_until_its_second_sighting() -> None:
    watch = Watch()
    assert watch.see(0.0, shot(MUG)) == {1: NO_ID}
    (state,) = watch.frame.tracks
    assert (state.state, state.id) == (State.TENTATIVE, "")
    assert watch.see(0.5, shot(MUG)) == {1: 1}
    assert watch.state("mug/1").state is State.SEEN
    assert watch.state("mug/1").age_s == 0.5


def test_object_of_sure_presence_has_its_number_at_once() -> None:
    assert Watch().see(0.0, shot(MUG, presence=0.95)) == {1: 1}


def test_part_of_an_object_waits_for_a_second_sighting_although_its_presence_is_sure() -> None:
    assert Watch().see(0.0, shot(MUG, presence=0.95, partial=True)) == {1: NO_ID}


@pytest.mark.parametrize("rate", [0.2, 0.5, 2.0, 10.0])
def test_false_detection_never_gets_a_number(rate: float) -> None:
    watch = Watch()
    watch.see(0.0, shot(MUG))
    for k in range(1, int(rate * 20) + 3):
        watch.see(k / rate, shot({}))
    assert watch.frame.tracks == ()
    assert watch.numbers == {}


def test_object_behind_a_board_is_hidden_and_comes_back() -> None:
    watch = watch_mug()
    for k in range(4, 24):
        watch.see(k / 2, shot({**MUG, 9: BOARD}))
        state = watch.state("mug/1")
        assert state.state is State.HIDDEN
    assert state.unseen_s == 10.0
    assert "behind something" in state.reason
    assert watch.see(12.0, shot(MUG)) == {1: 1}


def test_false_detection_in_front_does_not_take_the_id_of_a_hidden_object() -> None:
    watch = watch_mug()
    hiding = shot({**MUG, 9: BOARD})
    for k in range(4, 10):
        watch.see(k / 2, hiding)
    rows, columns = slice(50, 62), slice(74, 86)  # on the board
    y, x = np.mgrid[rows, columns].reshape(2, -1)
    points = hiding.view.to_common.apply(hiding.view.depth.points_at(x, y))
    mask = np.ones((12, 12), np.bool_)
    false = Observation("mug", Box(74, 50, 12, 12), mask, 0.8, 0.8, points)
    for k in range(10, 12):
        frame = watch.tracker.update(k * 500_000_000, hiding.view, [false], ("mug", "box"))
        assert 1 not in frame.numbers
    assert frame.of(1).state is State.HIDDEN
    assert watch.see(6.0, shot(MUG)) == {1: 1}


def test_something_small_does_not_take_the_id_of_an_object_that_was_moved() -> None:
    watch = watch_mug()
    small = Cuboid(0.12, 0.05, (0.015, 0.015, 0.015))
    for k in range(4, 6):
        watch.see(k / 2, shot({2: small}))
    assert watch.frame.numbers != (1,)


def test_object_behind_another_one_says_which() -> None:
    watch = watch_mug()
    front = Cuboid(0.14, -0.075, (0.05, 0.18, 0.25), "box")
    for k in range(4, 8):
        watch.see(k / 2, shot({**MUG, 2: front}))
    assert watch.state("mug/1").state is State.HIDDEN
    assert "behind box/2" in watch.state("mug/1").reason


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
def test_looking_away_and_back_keeps_ids(rate: float) -> None:
    watch = Watch()
    for k in range(int(4 * rate) + 1):
        watch.see(k / rate, shot(TWINS))
    for k in range(int(4 * rate) + 1, int(34 * rate)):
        watch.see(k / rate, shot(TWINS, AWAY))
    assert {state.state for state in watch.frame.tracks} == {State.OUT_OF_VIEW}
    for k in range(int(34 * rate), int(36 * rate) + 1):
        watch.see(k / rate, shot(TWINS, orbit(70)))
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
def test_object_that_was_taken_away_is_gone_after_looking_twice_for_a_second(rate: float) -> None:
    watch = Watch()
    for k in range(3):
        watch.see(k / rate, shot(MUG))
    watch.see(3 / rate, shot({}))
    assert watch.state("mug/1").state is State.MISSED
    last = 3 + max(1, round(rate))
    for k in range(4, last + 1):
        watch.see(k / rate, shot({}))
    state = watch.state("mug/1")
    assert state.state is State.GONE
    assert "farther" in state.reason
    assert state.place == pytest.approx(TWINS[2].centre, abs=0.05)


def test_object_that_the_detector_loses_is_not_gone_while_depth_shows_it() -> None:
    watch = watch_mug()
    for k in range(4, 16):
        watch.see(k / 2, shot(MUG).without(1))
        assert watch.state("mug/1").state is State.MISSED
    assert "something is at its place" in watch.state("mug/1").reason
    for k in range(16, 26):
        watch.see(k / 2, shot(MUG).without(1))
    assert watch.state("mug/1").state is State.GONE


def test_place_out_of_view_or_hidden_does_not_count_against_an_object() -> None:
    watch = watch_mug()
    before = watch.state("mug/1")
    for k in range(4, 12):
        watch.see(k / 2, shot(MUG, AWAY) if k % 2 else shot({**MUG, 9: BOARD}))
    after = watch.state("mug/1")
    assert (after.score, after.presence) == (before.score, before.presence)
    assert after.state in (State.HIDDEN, State.OUT_OF_VIEW)


def test_missed_object_without_depth_is_gone_after_three_seconds() -> None:
    watch = watch_mug(with_depth=False)
    states = []
    for k in range(4, 14):
        watch.see(k / 2, shot({}, with_depth=False))
        states.append(watch.state("mug/1").state)
    assert states == [State.MISSED] * 6 + [State.GONE] * 4


def test_object_is_forgotten_once_after_its_time() -> None:
    watch = Watch(TrackSettings(memory_s=10.0))
    watch.see(0.0, shot(MUG, presence=0.95))
    states = []
    for second in range(1, 14):
        watch.see(float(second), shot(MUG, AWAY))
        states += [state.state for state in watch.frame.tracks]
    assert states == [State.OUT_OF_VIEW] * 10 + [State.FORGOTTEN]
    assert watch.tracker.locate("mug") == ()
    watch.see(14.0, shot(MUG, presence=0.95))
    assert watch.frame.numbers == (2,)  # ids are never used again


def test_object_that_is_seen_after_its_time_has_a_new_id() -> None:
    watch = Watch(TrackSettings(memory_s=10.0))
    watch.see(0.0, shot(MUG, presence=0.95))
    assert watch.see(11.0, shot(MUG, presence=0.95)) == {1: 2}
    assert [(state.id, state.state) for state in watch.frame.tracks] == [
        ("mug/2", State.SEEN),
        ("mug/1", State.FORGOTTEN),
    ]


def test_time_in_which_nothing_was_looked_at_is_not_time_in_which_an_object_was_missed() -> None:
    watch = Watch(TrackSettings(memory_s=60.0))
    watch.see(0.0, shot(MUG, presence=0.95))
    for second in range(1, 41):
        watch.see(float(second), shot(MUG, AWAY))
    watch.see(90.0, shot(MUG, AWAY))  # nobody read for 50 s
    assert watch.state("mug/1").unseen_s == 90.0
    assert watch.see(91.0, shot(MUG)) == {1: 1}


def test_object_is_found_again_at_the_first_look_after_a_pause() -> None:
    watch = Watch(TrackSettings(memory_s=20.0))
    watch.see(0.0, shot(MUG, presence=0.95))
    for second in range(1, 20):
        watch.see(float(second), shot(MUG, AWAY))
    assert watch.see(38.0, shot(MUG)) == {1: 1}


def test_object_is_forgotten_after_a_longer_pause_and_says_why() -> None:
    watch = Watch(TrackSettings(memory_s=20.0))
    watch.see(0.0, shot(MUG, presence=0.95))
    assert watch.see(21.0, shot(MUG, presence=0.95)) == {1: 2}
    assert watch.state("mug/1").reason == "no image was searched for it for 21 s"


def test_tentative_object_of_a_label_that_is_not_asked_for_is_dropped() -> None:
    watch = Watch(TrackSettings(memory_s=20.0))
    watch.see(0.0, shot(MUG))
    for second in range(1, 21):
        watch.see(float(second), shot(MUG), ("box",))
    assert len(watch.frame.tracks) == 1
    watch.see(21.0, shot(MUG), ("box",))
    assert watch.frame.tracks == ()


@pytest.mark.parametrize("rate", [0.2, 0.5, 2.0, 10.0])
def test_memory_is_of_the_same_time_at_every_rate(rate: float) -> None:
    watch, away = Watch(TrackSettings(memory_s=30.0)), shot({}, AWAY)
    watch.see(0.0, shot(MUG, presence=0.95))
    states = []
    for k in range(1, int(30 * rate) + 2):
        watch.see(k / rate, away)
        states.append(watch.state("mug/1").state)
    assert states == [State.OUT_OF_VIEW] * int(30 * rate) + [State.FORGOTTEN]


def test_skipped_frames_let_time_pass() -> None:
    watch = watch_mug()
    assert watch.tracker.advance(30_000_000_000) == ()
    (forgotten,) = watch.tracker.advance(62_000_000_000)
    assert (forgotten.id, forgotten.state) == ("mug/1", State.FORGOTTEN)
    assert watch.tracker.states() == ()


def test_label_asked_again_gets_its_ids_back_and_others_keep_theirs() -> None:
    watch = Watch()
    for k in range(4):
        watch.see(k / 2, shot(TWINS))
    before = watch.lasting()
    for k in range(4, 60):
        watch.see(k / 2, shot(TWINS), ("box",))
    mugs = watch.tracker.locate("mug")
    assert len(mugs) == 3
    assert not any(state.asked for state in mugs)
    assert watch.state("box/4").asked
    for k in range(60, 64):
        watch.see(k / 2, shot(TWINS))
    assert watch.lasting() == before


def test_reset_forgets_tracks_and_does_not_use_ids_again() -> None:
    watch = watch_mug()
    watch.tracker.reset()
    assert watch.tracker.states() == ()
    watch.see(2.0, shot(MUG, presence=0.95))
    assert watch.frame.numbers == (2,)


def test_clock_that_is_set_back_begins_anew() -> None:
    watch = watch_mug(10.0)
    watch.see(0.0, shot(MUG, presence=0.95))
    assert watch.frame.numbers == (2,)
    assert [state.id for state in watch.frame.tracks] == ["mug/2"]
    assert watch.state("mug/2").age_s == 0.0


def test_frames_of_cameras_may_be_of_different_age() -> None:
    watch = Watch()
    left, right = shot(TWINS, orbit(0), "left"), shot(TWINS, orbit(90), "right")
    for k in range(4):  # a network takes 5 s for a frame, and one camera is slow
        watch.see(10.0 * k + 5, left)
        watch.see(10.0 * k, right)
    assert sorted(watch.lasting().values()) == [1, 2, 3, 4]
    watch.see(0.0, right)  # a bag began again
    assert {state.age_s for state in watch.frame.tracks} == {0.0}


def test_time_that_passed_without_frames_does_not_make_a_late_frame_a_jump_back() -> None:
    watch = watch_mug()
    watch.tracker.advance(8_000_000_000)
    assert watch.see(2.0, shot(MUG)) == {1: 1}


def test_settings_change_for_what_is_remembered_too() -> None:
    watch = watch_mug()
    watch.tracker.use(TrackSettings(memory_s=5.0))
    (forgotten,) = watch.tracker.advance(7_000_000_000)
    assert forgotten.id == "mug/1"


def test_no_picture_of_16_bits_shows_two_objects_as_one() -> None:
    numbers = Numbers()
    watch = Watch()
    watch.tracker = Tracker(numbers=numbers)
    watch.see(0.0, shot(MUG, presence=0.95))
    numbers.last = 65_534
    two = {**MUG, 2: TWINS[1], 3: TWINS[3]}
    given = watch.see(0.5, shot(two, presence=0.95))
    assert given == {1: 1, 2: 65_535, 3: 65_537}  # 65,536 would be shown as 1


def test_trackers_share_numbers() -> None:
    numbers = Numbers()
    trackers = Tracker(numbers=numbers), Tracker(numbers=numbers)
    mug = shot(MUG, presence=0.95)
    given = [t.update(0, mug.view, [mug.found[1]], ("mug",)).numbers for t in trackers]
    assert given == [(1,), (2,)]


def test_locate_finds_labels_and_ids() -> None:
    watch = Watch()
    for k in range(3):
        watch.see(k / 2, shot(TWINS))
    assert len(watch.tracker.locate("mug")) == 3
    (box,) = watch.tracker.locate("box/4")
    assert box.place == pytest.approx(TWINS[4].centre, abs=0.03)
    assert watch.tracker.locate("box/5") == ()
    assert watch.tracker.locate("saw") == ()


def test_flat_object_is_not_called_gone_by_depth_alone() -> None:
    watch = Watch()
    key = {1: Cuboid(0.0, 0.0, (0.08, 0.03, 0.004), "box")}
    for k in range(4):
        watch.see(k / 2, shot(key, flat=True))
    watch.see(2.0, shot({}))
    assert watch.state("box/1").state is State.MISSED
    for k in range(5, 25):
        watch.see(k / 2, shot({}))
    assert watch.state("box/1").state is State.GONE


def test_score_is_smoothed_over_the_life_of_a_track() -> None:
    watch = Watch(TrackSettings(smooth_s=2.0))
    rng = np.random.default_rng(5)
    shown = []
    for k in range(80):
        watch.see(k / 10, shot(MUG, score=float(rng.choice([0.2, 1.0])), presence=0.95))
        shown.append(watch.state("mug/1").score)
    assert np.std(shown[40:]) < 0.1  # of values with a deviation of 0.4
    assert np.mean(shown[40:]) == pytest.approx(0.6, abs=0.12)


def test_running_mean_of_calibrated_scores_is_calibrated() -> None:
    rng = np.random.default_rng(1)
    means, rights = [], []
    for _ in range(3000):
        level = rng.beta(2, 1)
        mean, right = RunningMean(2.0), 0
        for k in range(20):
            score = float(np.clip(level + rng.uniform(-0.2, 0.2), 0, 1))
            right += rng.random() < score
            mean.add(score, k / 10)
        means.append(mean.value)
        rights.append(right / 20)
    bins = np.digitize(means, [0.2, 0.4, 0.6, 0.8])
    for b in range(5):
        chosen = bins == b
        assert np.mean(np.array(rights)[chosen]) == pytest.approx(
            np.mean(np.array(means)[chosen]), abs=0.03
        )


def test_running_mean_depends_on_time_and_not_on_the_number_of_frames() -> None:
    slow, fast = RunningMean(2.0), RunningMean(2.0)
    for k in range(5):
        slow.add(float(k < 2), 2.0 * k)
    for k in range(50):
        fast.add(float(k < 20), 0.2 * k)
    assert slow.value == pytest.approx(fast.value, abs=0.05)


def test_segment_with_its_place_becomes_an_observation() -> None:
    seen = shot(MUG)
    observation = seen.found[1]
    full = np.zeros(seen.view.size_hw, np.bool_)
    box = observation.box
    full[box.y : box.y + box.height, box.x : box.x + box.width] = observation.mask
    click = np.array([[box.x + box.width // 2, box.y + box.height // 2]], np.int32)
    lifted = lift(seen.view.depth, full, click, seen.view.to_common)
    prompts = PointPrompts(click, np.array([True]))
    segment = Segment(1, 0, "mug", 0.7, 0.8, 0.4, 0.9, box, observation.mask, prompts)
    made = Observation.of(segment, lifted)
    assert (made.label, made.box, made.score, made.presence) == (
        "mug",
        box,
        0.7,
        0.8,
    )
    assert made.points is lifted.points
    assert not made.partial
    assert not made.flat
    assert Observation.of(segment).points is None
