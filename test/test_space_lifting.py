"""Lifting masks to boxes, on scenes of a table and cuboids that are ray-cast here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cuboids import (
    BLOCK,
    CAMERA,
    PLACE,
    SIZE,
    UP,
    UPRIGHT,
    VIEW,
    Cuboid,
    box_in,
    cast,
    lifted,
    middle_of,
    reasons,
)

from clip_surgery_ros.evaluation.space_detections import changed
from clip_surgery_ros.space.boxes import box_of
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import Lifted, LiftSettings, lift
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.support import find_support
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.world.depth_views import with_holes


@pytest.mark.parametrize("yaw", [0.0, 0.3, 0.8, 1.3])
def test_whole_object_without_noise_is_within_a_millimetre(yaw: float) -> None:
    result = lifted(*cast(Cuboid(PLACE, SIZE, yaw)))
    box = box_in(result)
    assert np.linalg.norm(box.centre - PLACE) < 0.001
    np.testing.assert_allclose(sorted(box.size[:2]), sorted(SIZE[:2]), atol=0.002)
    assert box.size[2] == pytest.approx(SIZE[2], abs=0.001)
    assert result.findings == ()


def test_box_is_upright_without_gravity_by_the_plane_it_stands_on() -> None:
    box = box_in(lifted(*cast(BLOCK), settings=LiftSettings()))
    np.testing.assert_allclose(box.pose.rotation[:, 2], UP, atol=0.01)
    assert np.linalg.norm(box.centre - PLACE) < 0.0015


def test_box_in_the_camera_frame_is_the_same_box() -> None:
    depth, ids = cast(BLOCK)
    mask = ids == 1
    own = box_in(lift(depth, mask, middle_of(mask), Rigid.identity()))
    np.testing.assert_allclose(VIEW.apply(own.centre[None])[0], PLACE, atol=0.0015)


def test_mask_six_pixels_off_costs_little() -> None:
    depth, ids = cast(BLOCK)
    mask = ids == 1
    for pixels in (6, -6):
        result = lift(depth, changed(mask, pixels), middle_of(mask), VIEW, settings=UPRIGHT)
        assert np.linalg.norm(box_in(result).centre - PLACE) < 0.003


def noisy(depth: DepthImage, deviation: float = 0.0015) -> DepthImage:
    """Return depth with noise that is smooth over a few pixels, as of stereo cameras."""
    import cv2

    noise = np.random.default_rng(0).normal(size=depth.metres.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return DepthImage(depth.metres + noise * (deviation / noise.std()), depth.intrinsics)


@pytest.mark.parametrize("pixels", [6, -6, 3, -3])
def test_border_of_a_mask_is_moved_to_where_the_surface_ends(pixels: int) -> None:
    """A block whose back touches another, which nothing says is another object."""
    other = Cuboid((-0.05, 0.06, 0.05), (0.04, 0.16, 0.1), 0.4)
    depth, ids = cast(BLOCK, other)
    right, mask = ids == 1, changed(ids == 1, pixels)
    wrong = lift(depth, mask, middle_of(right), VIEW, settings=UPRIGHT)
    own = np.zeros_like(right)
    own[wrong.rows, wrong.columns] = True
    assert (own ^ right).sum() < 0.35 * (mask ^ right).sum()
    assert np.linalg.norm(box_in(wrong).centre - PLACE) < 0.006


@pytest.mark.parametrize(("step", "limit"), [(2, 0.002), (4, 0.004)])
def test_small_pictures_are_lifted_too(step: int, limit: float) -> None:
    """320 x 240 and 160 x 120: distances in pixels follow the picture's width."""
    depth, ids = cast(BLOCK)
    camera, (height, width) = CAMERA, (CAMERA.height // step, CAMERA.width // step)
    numbers = (n / step for n in (camera.fx, camera.fy, camera.cx, camera.cy))
    small = DepthImage(
        np.ascontiguousarray(depth.metres[::step, ::step]), Intrinsics(*numbers, width, height)
    )
    result = lifted(small, np.ascontiguousarray(ids[::step, ::step]))
    assert result.findings == ()
    assert np.linalg.norm(box_in(result).centre - PLACE) < limit


def test_noise_does_not_raise_the_top() -> None:
    depth, ids = cast(BLOCK)
    for seen in (depth, noisy(depth)):
        box = box_in(lifted(seen, ids))
        assert box.size[2] == pytest.approx(SIZE[2], abs=0.0015)
        assert np.linalg.norm(box.centre - PLACE) < 0.003


def test_surface_with_many_holes_is_one() -> None:
    depth, ids = cast(BLOCK)
    holed = DepthImage(with_holes(depth.metres, 0.6, np.random.default_rng(0)), CAMERA)
    result = lifted(holed, ids)
    assert np.linalg.norm(box_in(result).centre - PLACE) < 0.006
    left = (ids == 1) & (holed.metres > 0)
    assert len(result.points) > 0.9 * left.sum()


def deviations(covariance: np.ndarray | None) -> np.ndarray:
    assert covariance is not None
    np.testing.assert_allclose(covariance, covariance.T)
    return np.sqrt(np.linalg.eigvalsh(covariance))


def test_covariance_is_long_along_the_ray() -> None:
    result = lifted(*cast(BLOCK))
    assert result.covariance is not None
    ray = box_in(result).centre - VIEW.translation
    axes = np.linalg.eigh(result.covariance)[1]
    assert abs(axes[:, 2] @ ray) == pytest.approx(np.linalg.norm(ray))
    assert 0.0005 < deviations(result.covariance)[0] < deviations(result.covariance)[2] < 0.01


def test_covariance_grows_with_noise_and_doubt() -> None:
    depth, ids = cast(BLOCK)
    usual = deviations(lifted(depth, ids).covariance)
    assert (deviations(lifted(noisy(depth, 0.004), ids).covariance) > 1.3 * usual).all()
    in_front = Cuboid((0.11, -0.12, 0.05), (0.03, 0.1, 0.1), 0.6)
    assert (deviations(lifted(*cast(BLOCK, in_front)).covariance) > 1.4 * usual).all()
    in_air = deviations(lifted(*cast(BLOCK, table=False)).covariance)
    assert in_air[2] > 2 * usual[2]


def test_covariance_of_a_box_straight_below_is_finite() -> None:
    matrix = np.diag([1.0, -1.0, -1.0, 1.0])
    matrix[2, 3] = 0.8
    above = Rigid.from_matrix(matrix)
    depth, ids = cast(Cuboid((0, 0, 0.04), SIZE), pose=above)
    mask = ids == 1
    result = lift(depth, mask, middle_of(mask), above, settings=UPRIGHT)
    assert (deviations(result.covariance) > 0).all()


def test_no_covariance_without_a_box() -> None:
    depth, ids = cast(BLOCK)
    assert lift(depth, ids > 9, np.zeros((0, 2), int), VIEW).covariance is None


def test_wall_behind_a_hole_is_not_the_object() -> None:
    wall = Cuboid((-0.6, 0.46, 0.3), (0.02, 1.5, 0.6), -0.66)
    depth, ids = cast(BLOCK, wall)
    result = lift(depth, ids > 0, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert np.linalg.norm(box_in(result).centre - PLACE) < 0.004
    assert "was kept" in reasons(result)[Reason.TWO_LAYERS]


def test_part_cut_off_by_a_hole_is_kept() -> None:
    depth, ids = cast(BLOCK)
    rows, columns = np.nonzero(ids == 1)
    middle = int(columns.mean())
    depth.metres[:, middle - 6 : middle + 6] = 0
    mask = ids == 1
    click = np.array([[columns.min() + 10, int(np.median(rows[columns == columns.min() + 10]))]])
    box = box_in(lift(depth, mask, click, VIEW, settings=UPRIGHT))
    assert np.linalg.norm(box.centre - PLACE) < 0.002


def test_click_on_a_pixel_without_depth_takes_the_nearest() -> None:
    depth, ids = cast(BLOCK)
    (x, y), *_ = middle_of(ids == 1)
    depth.metres[y - 4 : y + 5, x - 4 : x + 5] = 0
    assert np.linalg.norm(box_in(lifted(depth, ids)).centre - PLACE) < 0.001


def test_oriented_and_axis_aligned_boxes() -> None:
    scene = cast(BLOCK)
    aligned = box_in(lifted(*scene, settings=LiftSettings(box_mode="axis_aligned", up=UP)))
    c, s = abs(np.cos(0.4)), abs(np.sin(0.4))
    across = [SIZE[0] * c + SIZE[1] * s, SIZE[0] * s + SIZE[1] * c]
    np.testing.assert_allclose(aligned.size[:2], across, atol=0.012)  # corners are trimmed
    np.testing.assert_allclose(aligned.pose.matrix[:3, :3], np.eye(3), atol=1e-9)
    oriented = box_in(lifted(*scene, settings=LiftSettings(box_mode="oriented", up=UP)))
    assert np.linalg.det(oriented.pose.rotation) == pytest.approx(1)
    points = lifted(*scene).points
    local = oriented.pose.inverse().apply(points)
    assert (np.abs(local) <= oriented.size / 2 + 0.01).all()


def test_points_are_members_of_the_depth_image() -> None:
    depth, ids = cast(BLOCK)
    result = lifted(depth, ids)
    again = VIEW.apply(depth.points_at(result.columns, result.rows))
    np.testing.assert_allclose(result.points, again, atol=1e-5)
    assert (ids[result.rows, result.columns] == 1).mean() > 0.99


def test_corners_are_half_a_size_from_the_centre() -> None:
    box = box_in(lifted(*cast(BLOCK)))
    np.testing.assert_allclose(box.corners().mean(0), box.centre, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(box.corners() - box.centre, axis=1), np.linalg.norm(box.size) / 2
    )


def test_box_of_points_on_one_line_is_thin() -> None:
    points = np.linspace([0, 0, 0], [0, 0.1, 0], 50)
    assert box_of(points, "upright", UP, None).size.min() == pytest.approx(0, abs=1e-9)


def test_support_is_not_found_among_scattered_points() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    assert find_support(points, np.array([0, 0, 5.0]), UP, 0.003) is None


def test_steep_plane_is_no_support_when_gravity_is_known() -> None:
    rng = np.random.default_rng(0)
    wall = np.c_[np.zeros(300), rng.random((300, 2))]
    eye = np.array([1.0, 0, 0])
    assert find_support(wall, eye, UP, 0.003) is None
    found = find_support(wall, eye, None, 0.003)
    assert found is not None
    np.testing.assert_allclose(found.normal, [1, 0, 0], atol=1e-9)


# Each reason with its sentence.


def test_empty_mask_is_a_reason() -> None:
    depth, ids = cast(BLOCK)
    result = lift(depth, ids > 9, np.zeros((0, 2), int), VIEW)
    assert result.box is None
    assert reasons(result) == {Reason.EMPTY_MASK: "the mask has no pixels"}


def test_mask_without_depth_says_how_many_pixels_have_it() -> None:
    depth, ids = cast(BLOCK)
    pixels = int((ids == 1).sum())
    depth.metres[ids == 1] = 0
    (x, y), *_ = middle_of(ids == 1)
    depth.metres[y, x : x + 18] = 0.6
    result = lifted(depth, ids)
    assert result.box is None
    assert f"18 of {pixels} pixels have depth" in reasons(result)[Reason.TOO_FEW_POINTS]


def test_depth_out_of_range_says_the_range() -> None:
    result = lifted(*cast(BLOCK), settings=LiftSettings(farthest=0.3))
    assert result.box is None
    assert "0.1 to 0.3 is used" in reasons(result)[Reason.OUT_OF_RANGE]


def test_depth_in_another_unit_asks_for_the_unit() -> None:
    depth, ids = cast(BLOCK)
    result = lifted(DepthImage(depth.metres / 1000, CAMERA), ids)
    assert result.box is None
    assert "is the unit of depth right?" in reasons(result)[Reason.UNIT]


def test_object_at_the_border_has_a_lower_bound() -> None:
    depth, ids = cast(Cuboid((0.25, 0.32, 0.04), SIZE))
    assert (ids[:, -1] == 1).any()
    result = lifted(depth, ids)
    assert result.is_lower_bound
    assert "the picture's border cuts the object" in reasons(result)[Reason.CUT_BY_BORDER]


def test_hidden_object_has_a_lower_bound() -> None:
    front = Cuboid((0.11, -0.12, 0.05), (0.03, 0.1, 0.1), 0.6)
    result = lifted(*cast(BLOCK, front))
    assert result.is_lower_bound
    assert "of the outline" in reasons(result)[Reason.HIDDEN]


def test_holes_make_a_lower_bound() -> None:
    depth, ids = cast(BLOCK)
    rows = np.nonzero(ids == 1)[0]
    depth.metres[: int(np.quantile(rows, 0.6))] = 0
    result = lifted(depth, ids)
    assert result.is_lower_bound
    assert "of the mask has depth" in reasons(result)[Reason.HOLES]


HANDLE = Cuboid((0.11, 0.0, 0.055), (0.16, 0.009, 0.009))
"""Ten pixels wide, beside the block."""


@pytest.mark.parametrize(("pixels", "is_told"), [(-6, True), (0, False), (6, False)])
def test_part_that_a_small_mask_lacks_is_told(pixels: int, is_told: bool) -> None:
    depth, ids = cast(Cuboid(PLACE, SIZE), HANDLE)
    right = ids > 0
    result = lift(depth, changed(right, pixels), middle_of(ids == 1), VIEW, settings=UPRIGHT)
    told = reasons(result).get(Reason.MASK_TOO_SMALL, "")
    assert bool(told) == result.is_lower_bound == is_told
    assert (0.2 < box_in(result).size[:2].max() < 0.3) == (not is_told)
    if is_told:
        assert "the surface goes 6 pixels beyond the mask, and more than 16 in places" in told


BEHIND = Cuboid((-0.09, 0.07, 0.06), (0.02, 0.16, 0.12), -0.66)
"""Behind the block, as the camera sees it, so that a mask of both is one piece."""


def leaking(ids: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of the block with the nearest pixels behind it, and these alone.

    :param share: of the block's pixels.
    """
    near = (ids == 2) & changed(ids == 1, 100)
    order = np.argsort(cv2.distanceTransform((ids != 1).astype(np.uint8), cv2.DIST_L2, 5)[near])
    leak = np.zeros_like(near)
    rows, columns = np.nonzero(near)
    first = order[: round(share * np.count_nonzero(ids == 1))]
    leak[rows[first], columns[first]] = True
    return (ids == 1) | leak, leak


SHAFT = Cuboid((0.08, 0.0, 0.055), (0.1, 0.012, 0.012))
"""Sticks out of the block, and ends within reach."""


def without_shaft(*others: Cuboid) -> tuple[Lifted, Lifted, np.ndarray]:
    """Return the block with its shaft, and what is found with a mask that lacks the shaft."""
    depth, ids = cast(Cuboid(PLACE, SIZE), SHAFT, *others)
    whole = (ids == 1) | (ids == 2)
    clicks = middle_of(ids == 1)
    right = lift(depth, whole, clicks, VIEW, ids > 2, UPRIGHT)
    return right, lift(depth, ids == 1, clicks, VIEW, None, UPRIGHT), ids


def test_part_that_the_mask_lacks_is_the_objects_where_its_surface_ends() -> None:
    right, lacking, ids = without_shaft()
    assert np.linalg.norm(box_in(lacking).centre - box_in(right).centre) < 0.002
    found = np.zeros_like(ids, np.bool_)
    found[lacking.rows, lacking.columns] = True
    assert found[ids == 2].mean() > 0.9


def test_part_that_the_mask_lacks_is_left_where_its_surface_does_not_end() -> None:
    """The shaft touches something else, which is far larger."""
    _, lacking, ids = without_shaft(Cuboid((0.09, 0.056, 0.05), (0.08, 0.1, 0.1)))
    assert (ids[lacking.rows, lacking.columns] == 1).mean() > 0.99


def test_thing_behind_in_the_mask_is_left_out_where_the_box_would_be_elsewhere() -> None:
    """A strip of a board behind the block, joined to it over the table, is in the mask."""
    depth, ids = cast(BLOCK, BEHIND)
    mask, leak = leaking(ids, 0.05)
    result = lift(depth, mask, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert np.linalg.norm(box_in(result).centre - PLACE) < 0.002
    told = reasons(result)[Reason.TWO_LAYERS]
    assert "were left out; with them the box would be" in told
    assert not leak[result.rows, result.columns].any()


def test_large_thing_behind_in_the_mask_is_told_and_widens_the_covariance() -> None:
    depth, ids = cast(BLOCK, BEHIND)
    mask, leak = leaking(ids, 0.4)
    result = lift(depth, mask, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert leak[result.rows, result.columns].mean() > 0.1
    assert "divides from the largest, the box would be" in reasons(result)[Reason.TWO_LAYERS]
    error = box_in(result).centre - PLACE
    assert np.linalg.norm(error) > 0.02 and result.covariance is not None
    assert error @ np.linalg.inv(result.covariance) @ error < 3**2


def test_covariance_grows_where_mask_and_object_differ() -> None:
    depth, ids = cast(BLOCK)
    usual = deviations(lifted(depth, ids).covariance)
    columns = np.nonzero(ids == 1)[1]
    ragged = (ids == 1) | ((np.arange(640) > np.median(columns)) & changed(ids == 1, 25))
    result = lift(depth, ragged, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert np.linalg.norm(box_in(result).centre - PLACE) < 0.003
    assert (deviations(result.covariance) > 1.5 * usual).all()


def test_right_mask_is_not_too_small_where_something_unknown_touches() -> None:
    other = Cuboid((-0.05, 0.06, 0.05), (0.04, 0.16, 0.1), 0.4)
    depth, ids = cast(BLOCK, other)
    result = lift(depth, ids == 1, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert result.findings == ()


@pytest.mark.parametrize("pixels", [-6, -3])
def test_mask_that_lacks_no_part_is_not_too_small_where_something_stands_beside(
    pixels: int,
) -> None:
    """The surface goes on over the table alone, to something that was not asked for."""
    board = Cuboid((0.0, 0.055, 0.03), (0.1, 0.01, 0.06), 0.4)
    depth, ids = cast(BLOCK, board)
    small = changed(ids == 1, pixels)
    near = changed(small, 16) & (ids == 2)
    assert near.sum() > 50, "it is as near as a part that the mask lacks would be"
    result = lift(depth, small, middle_of(small), VIEW, settings=UPRIGHT)
    assert result.findings == ()


NEIGHBOUR = Cuboid((0.095, 0.0, 0.04), (0.09, 0.1, 0.08), 0.4)
"""Touches the block."""


def test_box_that_depends_on_pixels_of_another_mask_is_told() -> None:
    depth, ids = cast(BLOCK, NEIGHBOUR)
    mask, other = ids == 1, ids == 2
    columns = np.nonzero(other)[1]
    leaked = mask | (other & (np.arange(640) < np.quantile(columns, 0.4)))
    result = lift(depth, leaked, middle_of(mask), VIEW, other, UPRIGHT)
    told = reasons(result)[Reason.SHARED_PIXELS]
    assert "either object's, the box would be" in told
    assert np.linalg.norm(box_in(result).centre - PLACE) > 0.02


@pytest.mark.parametrize("pixels", [0, 3])
def test_masks_that_share_a_border_do_not_doubt_each_other(pixels: int) -> None:
    depth, ids = cast(BLOCK, NEIGHBOUR)
    mask, other = (changed(ids == k, pixels) for k in (1, 2))
    result = lift(depth, mask, middle_of(ids == 1), VIEW, other, UPRIGHT)
    assert Reason.SHARED_PIXELS not in reasons(result)


@pytest.mark.parametrize("pixels", [-4, 0, 4])
def test_two_masks_of_one_thing_do_not_doubt_each_other(pixels: int) -> None:
    depth, ids = cast(BLOCK)
    mask = ids == 1
    result = lift(depth, mask, middle_of(mask), VIEW, changed(mask, pixels), UPRIGHT)
    assert result.findings == ()


def test_mask_of_mostly_support_is_told() -> None:
    depth, ids = cast(Cuboid((0, 0, 0.006), (0.05, 0.09, 0.012)))
    mask = changed(ids == 1, 30)
    result = lift(depth, mask, middle_of(ids == 1), VIEW, settings=UPRIGHT)
    assert (
        "pixels of the surface in the mask are above the support"
        in (reasons(result)[Reason.SMALL_PART])
    )
    assert not lifted(depth, ids).findings


def test_object_in_the_air_has_no_support() -> None:
    result = lifted(*cast(BLOCK, table=False))
    assert "nothing was cut off" in reasons(result)[Reason.NO_SUPPORT]
    assert np.linalg.norm(box_in(result).centre - PLACE) < 0.002


def test_flat_object_keeps_its_points() -> None:
    result = lifted(*cast(Cuboid((0, 0, 0.0004), (0.05, 0.09, 0.0008))))
    assert "it was not cut off" in reasons(result)[Reason.FLAT]
    np.testing.assert_allclose(sorted(box_in(result).size[:2]), [0.05, 0.09], atol=0.003)
