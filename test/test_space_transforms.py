"""Rigid transforms, and the buffer's behaviour as tf2 documents it."""

from __future__ import annotations

import itertools
from threading import Thread

import numpy as np
import pytest

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import LATEST, Rigid, TransformBuffer, TransformUnavailable

S = 1_000_000_000
ABOUT_Z = (0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4))
"""A quarter turn."""


def at(x: float = 0.0, y: float = 0.0, z: float = 0.0, q: tuple = (0, 0, 0, 1)) -> Rigid:
    return Rigid.from_message((x, y, z), q)


def random_rigid(rng: np.random.Generator) -> Rigid:
    q = rng.normal(size=4)
    return Rigid(rng.normal(size=3), q / np.linalg.norm(q))


def reason_of(buffer: TransformBuffer, target: str, source: str, stamp: int) -> Reason:
    with pytest.raises(TransformUnavailable) as caught:
        buffer.lookup(target, source, stamp)
    assert str(caught.value) == caught.value.finding.text
    return caught.value.finding.reason


def test_products_inverses_and_matrices_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = random_rigid(rng), random_rigid(rng)
        np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-12)
        np.testing.assert_allclose(a.inverse().matrix, np.linalg.inv(a.matrix), atol=1e-12)
        np.testing.assert_allclose(Rigid.from_matrix(a.matrix).matrix, a.matrix, atol=1e-12)
        points = rng.normal(size=(5, 3))
        expected = np.c_[points, np.ones(5)] @ a.matrix.T
        np.testing.assert_allclose(a.apply(points), expected[:, :3], atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_survive_the_matrix(axis: int) -> None:
    q = np.zeros(4)
    q[axis] = 1
    turn = Rigid(np.zeros(3), q)
    np.testing.assert_allclose(np.abs(Rigid.from_matrix(turn.matrix).quaternion), q, atol=1e-12)


def test_quarter_turn_about_z_takes_x_to_y() -> None:
    np.testing.assert_allclose(at(q=ABOUT_Z).apply(np.eye(3))[0], [0, 1, 0], atol=1e-12)


def test_halfway_of_a_quarter_turn_is_an_eighth_of_a_turn() -> None:
    half = at().between(at(2.0, q=ABOUT_Z), 0.5)
    np.testing.assert_allclose(half.translation, [1, 0, 0])
    np.testing.assert_allclose(half.apply(np.eye(3))[0] - half.translation, [0.5**0.5] * 2 + [0])


def test_rotation_takes_the_shorter_way() -> None:
    opposite = Rigid(np.zeros(3), -np.array(ABOUT_Z))  # the same rotation
    np.testing.assert_allclose(
        at().between(opposite, 0.5).matrix, at().between(at(q=ABOUT_Z), 0.5).matrix, atol=1e-12
    )


@pytest.mark.parametrize(
    ("translation", "quaternion", "words"),
    [
        ((0, 0, np.nan), (0, 0, 0, 1), "must be finite"),
        ((0, 1e300, 0), (0, 0, 0, 1), "must be finite, and at most 1e\\+09"),
        ((0, 0, 0), (0, 0, 1e200, 1), "must be finite"),
        ((0, 0, 0), (0, 0, 0, 0), "length 0.000 instead of 1"),
        ((0, 0, 0), (0, 0, 0, 1.1), "instead of 1"),
    ],
)
def test_impossible_numbers_are_refused(translation: tuple, quaternion: tuple, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        Rigid.from_message(translation, quaternion)


@pytest.fixture
def robot() -> TransformBuffer:
    """map -> base (moves 1 m/s along x, seconds 10 to 12) -> arm -> camera (static)."""
    buffer = TransformBuffer()
    buffer.add("map", "base", 10 * S, at(0))
    buffer.add("map", "base", 12 * S, at(2))
    buffer.add("base", "arm", 11 * S, at(z=1, q=ABOUT_Z))
    buffer.add("base", "arm", 12 * S, at(z=1, q=ABOUT_Z))
    buffer.add_static("arm", "camera", at(0.1))
    buffer.add_static("base", "laser", at(0.3))
    return buffer


def test_moving_frames_are_interpolated_at_the_stamp(robot: TransformBuffer) -> None:
    np.testing.assert_allclose(
        robot.lookup("map", "base", 10 * S + S // 4).translation, [0.25, 0, 0]
    )


def test_chain_through_static_and_moving_frames(robot: TransformBuffer) -> None:
    found = robot.lookup("map", "camera", 11 * S + S // 2)
    np.testing.assert_allclose(found.translation, [1.5, 0.1, 1], atol=1e-12)


def test_lookup_across_a_common_ancestor_ignores_what_is_above_it(robot: TransformBuffer) -> None:
    found = robot.lookup("laser", "camera", 11 * S)
    np.testing.assert_allclose(found.translation, [-0.3, 0.1, 1], atol=1e-12)


def test_frame_to_itself_is_the_identity(robot: TransformBuffer) -> None:
    np.testing.assert_allclose(robot.lookup("camera", "camera", 99 * S).matrix, np.eye(4))


def test_back_and_forth_is_the_identity(robot: TransformBuffer) -> None:
    there, back = (robot.lookup(*pair, 11 * S) for pair in (("map", "camera"), ("camera", "map")))
    np.testing.assert_allclose((there @ back).matrix, np.eye(4), atol=1e-12)


def test_static_transforms_hold_at_any_time(robot: TransformBuffer) -> None:
    for stamp in (1, 11 * S, 10**6 * S):
        np.testing.assert_allclose(robot.lookup("arm", "camera", stamp).translation, [0.1, 0, 0])


def test_latest_is_the_newest_common_stamp(robot: TransformBuffer) -> None:
    robot.add("base", "arm", 14 * S, at(z=3))
    np.testing.assert_allclose(robot.lookup("map", "base", LATEST).translation, [2, 0, 0])
    found = robot.lookup("map", "arm", LATEST)  # at 12 s, the end of map -> base
    np.testing.assert_allclose(found.translation, [2, 0, 1], atol=1e-12)
    np.testing.assert_allclose(robot.lookup("arm", "camera", LATEST).translation, [0.1, 0, 0])


@pytest.mark.parametrize(
    ("target", "source", "stamp", "reason"),
    [
        ("map", "hand", 11 * S, Reason.TF_UNKNOWN_FRAME),
        ("map", "base", 10 * S - 1, Reason.TF_PAST),
        ("map", "base", 12 * S + 1, Reason.TF_FUTURE),
        ("map", "camera", 10 * S + 1, Reason.TF_PAST),
        ("map", "tag", 11 * S, Reason.TF_NOT_CONNECTED),
    ],
)
def test_reasons_are_distinct(
    robot: TransformBuffer, target: str, source: str, stamp: int, reason: Reason
) -> None:
    robot.add_static("wall", "tag", at())
    assert reason_of(robot, target, source, stamp) == reason


def test_sentences_have_the_numbers(robot: TransformBuffer) -> None:
    with pytest.raises(TransformUnavailable, match=r"'base' end 0\.500 s before the stamp 12\.5"):
        robot.lookup("map", "base", 12 * S + S // 2)
    with pytest.raises(TransformUnavailable, match=r"'base' begin 2\.000 s after the stamp 8\.0"):
        robot.lookup("map", "base", 8 * S)
    with pytest.raises(
        TransformUnavailable, match="there are: 'arm', 'base', 'camera', 'laser', 'map'"
    ):
        robot.lookup("map", "hand", 11 * S)
    robot.add_static("wall", "tag", at())
    with pytest.raises(TransformUnavailable, match="they are below 'map' and 'wall'"):
        robot.lookup("tag", "camera", 11 * S)


def test_first_and_last_stamp_are_not_extrapolation(robot: TransformBuffer) -> None:
    np.testing.assert_allclose(robot.lookup("map", "base", 10 * S).translation, [0, 0, 0])
    np.testing.assert_allclose(robot.lookup("map", "base", 12 * S).translation, [2, 0, 0])


def test_ten_seconds_are_kept() -> None:
    buffer = TransformBuffer()
    for second in range(25):
        buffer.add("map", "base", second * S, at(second))
    assert buffer.lookup("map", "base", 14 * S).translation[0] == 14
    assert reason_of(buffer, "map", "base", 14 * S - 1) == Reason.TF_PAST


def test_transform_older_than_what_is_kept_is_ignored() -> None:
    buffer = TransformBuffer()
    buffer.add("map", "base", 20 * S, at(1))
    buffer.add("map", "base", 10 * S - 1, at(5))
    assert reason_of(buffer, "map", "base", 15 * S) == Reason.TF_PAST


def test_transforms_may_come_in_any_order() -> None:
    for order in itertools.permutations(range(4)):
        buffer = TransformBuffer()
        for second in order:
            buffer.add("map", "base", (1 + second) * S, at(second**2))
        assert buffer.lookup("map", "base", 3 * S + S // 2).translation[0] == 6.5


def test_same_stamp_replaces_the_former() -> None:
    buffer = TransformBuffer()
    buffer.add("map", "base", S, at(1))
    buffer.add("map", "base", S, at(2))
    assert buffer.lookup("map", "base", S).translation[0] == 2


def test_new_parent_holds_from_its_stamp_on() -> None:
    buffer = TransformBuffer()
    for parent in ("left", "right"):
        buffer.add_static("map", parent, at(1 if parent == "right" else -1))
    buffer.add("left", "cup", 1 * S, at(0))
    buffer.add("left", "cup", 2 * S, at(0))
    buffer.add("right", "cup", 3 * S, at(0))
    assert buffer.lookup("map", "cup", 2 * S + S // 2).translation[0] == -1
    assert buffer.lookup("map", "cup", 3 * S).translation[0] == 1


def test_static_transform_may_be_sent_again_changed() -> None:
    buffer = TransformBuffer()
    buffer.add_static("map", "base", at(1))
    buffer.add_static("map", "base", at(2))
    assert buffer.lookup("map", "base", 5).translation[0] == 2


def test_time_jump_clears_moving_frames_only(robot: TransformBuffer) -> None:
    robot.clear()
    assert reason_of(robot, "map", "camera", 11 * S) == Reason.TF_UNKNOWN_FRAME
    np.testing.assert_allclose(robot.lookup("arm", "camera", 1).translation, [0.1, 0, 0])


def test_loop_of_frames_is_not_connected() -> None:
    buffer = TransformBuffer()
    buffer.add_static("a", "b", at())
    buffer.add_static("b", "a", at())
    buffer.add_static("c", "d", at())
    assert reason_of(buffer, "c", "b", 1) == Reason.TF_NOT_CONNECTED
    assert buffer.lookup("a", "b", 1).translation.tolist() == [0, 0, 0]
    assert buffer.lookup("a", "b", LATEST).translation.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("parent", "child"), [("a", "a"), ("", "a"), ("a", "/"), ("/a", "a")])
def test_names_must_be_two(parent: str, child: str) -> None:
    with pytest.raises(SpaceError, match="two different names"):
        TransformBuffer().add(parent, child, 1, at())


def test_slashes_at_the_start_are_ignored() -> None:
    buffer = TransformBuffer()
    buffer.add_static("/map", "base", at(1))
    assert buffer.lookup("map", "/base", 3).translation[0] == 1


def test_empty_buffer_knows_no_frame() -> None:
    with pytest.raises(TransformUnavailable, match="there are: none"):
        TransformBuffer().lookup("map", "base", 1)


def test_errors_stay_short_with_many_frames_of_long_names() -> None:
    buffer = TransformBuffer()
    for number in range(200):
        buffer.add_static("map", f"{number}\n" + "x" * 5000, Rigid.identity())
    with pytest.raises(TransformUnavailable, match="and 189 more") as caught:
        buffer.lookup("map", "y" * 5000, 1)
    text = str(caught.value)
    assert len(text) < 1200 and "\n" not in text


def test_random_trees_agree_with_products_along_the_way_to_the_root() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        buffer, count = TransformBuffer(), 12
        parents = [int(rng.integers(0, k)) for k in range(1, count)]
        links = [random_rigid(rng) for _ in parents]
        for k, (parent, link) in enumerate(zip(parents, links, strict=True), 1):
            if rng.random() < 0.5:
                buffer.add_static(str(parent), str(k), link)
            else:
                buffer.add(str(parent), str(k), 5 * S, link)
        to_root = [np.eye(4)]
        for parent, link in zip(parents, links, strict=True):
            to_root.append(to_root[parent] @ link.matrix)
        for a, b in rng.integers(0, count, (30, 2)):
            expected = np.linalg.inv(to_root[a]) @ to_root[b]
            found = buffer.lookup(str(a), str(b), 5 * S)
            np.testing.assert_allclose(found.matrix, expected, atol=1e-9)


def test_threads_add_and_look_up_at_once() -> None:
    buffer = TransformBuffer(keep_ns=1000)
    buffer.add("map", "base", 0, at(0))
    errors: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(3000):
                moved = buffer.lookup("map", "base", LATEST).translation
                assert moved[0] == moved[1]
        except Exception as error:
            errors.append(error)

    reader = Thread(target=read)
    reader.start()
    for stamp in range(1, 5000):
        buffer.add("map", "base", stamp, at(stamp, stamp))
    reader.join(60)
    assert not errors
