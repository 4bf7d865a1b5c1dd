"""Camera models of pictures: rectified, cropped, binned, scaled; against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.ros.camera_models import distortion_of, intrinsics_of, is_rectified


def info(**fields: object) -> CameraInfo:
    """640 x 480; K and P differ, as after a calibration."""
    message = CameraInfo(
        width=640,
        height=480,
        distortion_model="plumb_bob",
        k=[600.0, 0, 320, 0, 610, 240, 0, 0, 1],
        p=[500.0, 0, 310, 0, 0, 510, 230, 0, 0, 0, 1, 0],
    )
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def numbers(message: CameraInfo, size_hw: tuple[int, int], rectified: bool = False) -> tuple:
    model = intrinsics_of(message, size_hw, rectified, "camera_info")
    assert (model.height, model.width) == size_hw
    return (model.fx, model.fy, model.cx, model.cy)


def test_raw_pictures_have_k_and_rectified_ones_p() -> None:
    assert numbers(info(), (480, 640)) == (600, 610, 320, 240)
    assert numbers(info(), (480, 640), rectified=True) == (500, 510, 310, 230)
    assert numbers(info(p=[0.0] * 12), (480, 640), rectified=True) == (600, 610, 320, 240)


def test_region_of_interest_moves_the_centre() -> None:
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=240)
    assert numbers(info(roi=roi), (240, 320)) == (600, 610, 220, 200)


def test_binning_halves_all_numbers_about_the_middle_of_pixels() -> None:
    binned = numbers(info(binning_x=2, binning_y=2), (240, 320))
    assert binned == (300, 305, 320.5 / 2 - 0.5, 240.5 / 2 - 0.5)


def test_binning_comes_after_the_region_of_interest() -> None:
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=240)
    found = numbers(info(roi=roi, binning_x=2, binning_y=2), (120, 160))
    assert found == (300, 305, 220.5 / 2 - 0.5, 200.5 / 2 - 0.5)


def test_reduced_picture_has_the_model_reduced() -> None:
    assert numbers(info(), (240, 320))[:2] == (300, 305)


@pytest.mark.parametrize(
    ("fields", "size_hw", "words"),
    [
        ({}, (640, 480), "is of pictures of 640 x 480 pixels, and the picture has 480 x 640"),
        ({"k": [0.0] * 9}, (480, 640), "focal lengths must be above 1 pixel"),
        ({"width": 0}, (480, 640), "camera_info has a size of 0 x 0"),
        ({"k": [np.nan, *[1.0] * 8]}, (480, 640), "camera_info: .*focal lengths"),
    ],
)
def test_models_that_cannot_hold_are_refused(fields: dict, size_hw: tuple, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        intrinsics_of(info(**fields), size_hw, False, "camera_info")


def test_second_camera_of_a_stereo_pair_is_refused_when_rectified() -> None:
    p = [500.0, 0, 310, -60, 0, 510, 230, 0, 0, 0, 1, 0]
    with pytest.raises(SpaceError, match="second camera of a stereo"):
        intrinsics_of(info(p=p), (480, 640), True, "camera_info")


def test_distortion_is_the_largest_move_of_the_border() -> None:
    assert distortion_of(info()) == 0
    assert distortion_of(info(d=[0.0] * 5)) == 0
    weak = distortion_of(info(d=[0.001, 0.0, 0.0, 0.0, 0.0]))
    # At the corner, x = 320 / 600 and y = 240 / 610 from the centre: r2 = 0.439, r = 400 pixels.
    assert weak == pytest.approx(0.001 * 0.439 * 400, rel=0.05)
    assert distortion_of(info(d=[-0.3, 0.1, 0.0, 0.0, 0.0])) > 10
    assert distortion_of(info(distortion_model="equidistant", d=[0.1, 0.0, 0.0, 0.0])) > 10
    assert distortion_of(info(distortion_model="scaramuzza", d=[1.0])) == 0
    assert distortion_of(info(d=[1.0])) == 0
    assert distortion_of(info(d=[np.nan])) == 0


def test_names_of_rectified_topics() -> None:
    assert is_rectified("/camera/image_rect") and is_rectified("image_rect_color")
    assert not is_rectified("/rectangle/image_raw")
