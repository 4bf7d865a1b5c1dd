"""Images that a GPU resizes have the bytes that Pillow gives them. A CPU makes the same calls."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from clip_surgery_ros.networks import resizing
from clip_surgery_ros.networks.resizing import BICUBIC, BILINEAR, Kernel, resize_images

PILLOW = {BICUBIC: Image.Resampling.BICUBIC, BILINEAR: Image.Resampling.BILINEAR}
CPU = torch.device("cpu")


def assert_as_pillow(image: np.ndarray, to_hw: tuple[int, int], kernel: Kernel) -> None:
    expected = np.asarray(Image.fromarray(image).resize(to_hw[::-1], PILLOW[kernel]))
    found = resize_images([torch.from_numpy(image)], to_hw, kernel)
    assert found.dtype == torch.float32 and found.shape == (1, 3, *to_hw)
    np.testing.assert_array_equal(found[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("kernel", PILLOW, ids=["bicubic", "bilinear"])
def test_images_of_random_sizes_have_the_bytes_of_pillow(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        from_hw, to_hw = (tuple(map(int, rng.integers(8, 150, 2))) for _ in range(2))
        image = rng.integers(0, 256, (*from_hw, 3), np.uint8)
        if seed % 4 == 0:  # overshoots beyond black and white
            image = np.where(image > 127, 255, 0).astype(np.uint8)
        assert_as_pillow(image, to_hw, kernel)


@pytest.mark.parametrize(
    ("from_hw", "to_hw"),
    [
        ((720, 1280), (224, 224)),  # a camera for CLIP
        ((432, 768), (224, 224)),  # its window
        ((360, 640), (576, 1024)),  # a camera for SAM
        ((640, 360), (224, 224)),  # upright
        ((12, 8000), (32, 32)),  # needs three digits
        ((9, 60000), (8, 64)),  # needs five
        ((48, 48), (48, 48)),
    ],
)
def test_images_of_cameras_and_of_extreme_sizes_have_the_bytes_of_pillow(
    from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*from_hw, 3), np.uint8)
    assert_as_pillow(image, to_hw, BICUBIC)
    assert_as_pillow(image, to_hw, BILINEAR)


def test_sums_of_digits_are_exact_in_floats() -> None:
    """No sum of bytes times digits reaches 2^24, and the digits make the weights."""
    for size, target in ((1280, 512), (8000, 32), (60000, 64), (31, 64)):
        table = resizing.axis_weights(size, target, BICUBIC, CPU)
        digits = table.digits.double().T.unflatten(0, (-1, target))
        assert digits.abs().sum(dim=-1).max() * 255 < 2**24
        assert digits.abs().max() <= 2**11  # TF32 holds all whole numbers up to it
        whole = sum(digit * 2.0 ** (table.bits * place) for place, digit in enumerate(digits))
        sums = whole.sum(dim=-1) / 2**resizing.POINT
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-4, rtol=0)


def test_images_of_several_sizes_are_resized_in_order() -> None:
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((9, 12), (9, 12), (20, 8))]
    found = resize_images([torch.from_numpy(image) for image in images], (10, 11), BICUBIC)
    for image, one in zip(images, found, strict=True):
        expected = np.asarray(Image.fromarray(image).resize((11, 10), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(one.permute(1, 2, 0).numpy(), expected)


def test_other_arithmetic_of_pillow_is_noticed_and_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A kernel whose weights are not those of Pillow's filter of its name."""
    unlike = Kernel(Image.Resampling.BOX, 1.0, BILINEAR.weight)
    image = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    with caplog.at_level(logging.WARNING):
        found = resize_images([torch.from_numpy(image)], (16, 16), unlike)
    assert "resizes images in a way that is unknown here" in caplog.text
    expected = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX))
    np.testing.assert_array_equal(found[0].permute(1, 2, 0).numpy(), expected)
