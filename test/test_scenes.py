"""Generated scenes: reproducible, with exact masks, and disjoint splits."""

from __future__ import annotations

import itertools

import numpy as np

from clip_surgery_ros.world.scenes import (
    SPLITS,
    SceneGenerator,
    SceneStyle,
)
from clip_surgery_ros.world.sprites import NAMES, load_sprites


def test_same_seed_makes_the_same_scene_and_another_seed_a_different_one() -> None:
    generator = SceneGenerator()
    scene, same, different = generator.scene(5), SceneGenerator().scene(5), generator.scene(6)
    assert np.array_equal(scene.image, same.image)
    assert np.array_equal(scene.masks, same.masks)
    assert not np.array_equal(scene.image, different.image)


def test_splits_share_no_seed() -> None:
    ranges = sorted(SPLITS.values(), key=lambda seeds: seeds.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    assert set(SPLITS) == {"train", "development", "held_out"}


def test_masks_are_disjoint_visible_and_named() -> None:
    for scene in SceneGenerator().scenes("development", 20):
        assert 1 <= len(scene.masks) <= 5
        assert len(scene.names) == len(scene.masks)
        assert scene.masks.sum(axis=0).max() == 1
        assert scene.masks.any(axis=(1, 2)).all()
        assert scene.image.shape == (240, 320, 3)
        assert scene.image.dtype == np.uint8


def test_mask_covers_the_pixels_of_its_object() -> None:
    """Black background, no noise: a solid white sprite is where the mask is."""
    red = NAMES.index("red apple")
    scene = SceneGenerator(SceneStyle(count=(1, 1)), [red]).scene(3)
    inside = scene.image[scene.masks[0]].astype(float).mean(axis=0)
    ring = _dilated(scene.masks[0], 12) & ~_dilated(scene.masks[0], 6)
    outside = scene.image[ring].astype(float).mean(axis=0)
    # A red apple is redder than it is blue, and than what lies around it.
    assert inside[0] - inside[2] > 60
    assert inside[0] - inside[2] > outside[0] - outside[2] + 40


def _dilated(mask: np.ndarray, by: int) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1,) * 2, np.uint8)) > 0


def test_sprite_sheet_has_a_sprite_for_every_name() -> None:
    sprites = load_sprites()
    assert len(NAMES) == len(set(NAMES)) == len(sprites) >= 140
    assert (sprites[..., 3].mean(axis=(1, 2)) > 0.05).all()
