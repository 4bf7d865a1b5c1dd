"""Training of the demo's SAM: prompts, and weights of another image size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clip_surgery_ros.networks.sam.build import build_sam
from clip_surgery_ros.training import sam_data
from clip_surgery_ros.training.options import SamOptions
from clip_surgery_ros.training.sam_data import PromptedScenes, collate
from clip_surgery_ros.training.sam_model import MASK_SIZE, SPEC, resize_positions
from clip_surgery_ros.training.sam_prompts import click_excluding_others
from clip_surgery_ros.world.scene_sets import SceneSet
from clip_surgery_ros.world.scenes import Scene, SceneGenerator, SceneStyle


@pytest.mark.parametrize("size", [2, 3])
def test_click_excluding_others_excludes_copies_or_other_objects(size: int) -> None:
    style = SceneStyle(scale=(0.2, 0.4))
    copies = SceneSet(style, 0, copies=(3, 5)).scene(1)
    others = SceneGenerator(replace(style, count=(3, 3))).scene(2)
    alone = SceneGenerator(replace(style, count=(1, 1))).scene(3)
    assert len(copies.masks) > 2 and len(others.masks) == 3 and len(alone.masks) == 1
    for scene in (copies, others, alone):
        points, labels = click_excluding_others(scene, 0, size, np.random.default_rng(0))
        assert labels.tolist() == [1] + [0] * (size - 1)
        assert _at(scene.masks[0], points[0])
        allowed = _allowed(scene)
        assert all(_at(allowed, point) for point in points[1:])


def _allowed(scene: Scene) -> np.ndarray:
    """Return where negative clicks for the first object may be."""
    same = [
        mask
        for mask, name in zip(scene.masks, scene.objects, strict=True)
        if name == scene.objects[0]
    ]
    others = same[1:] or list(scene.masks[1:])
    return np.any(others, axis=0) if others else ~scene.masks[0]


def _at(mask: np.ndarray, xy: np.ndarray) -> bool:
    return bool(mask[int(xy[1]), int(xy[0])])


def test_batch_has_prompts_of_one_size_and_targets_that_contain_the_click() -> None:
    options = SamOptions(steps=8, decay=0, batch=2, rate=0, seed=0, threads=1, bfloat16=False)
    stream = PromptedScenes(options, 0)
    sizes = []
    for step in range(8):
        batch = collate([stream[2 * step], stream[2 * step + 1]])
        sizes.append(batch.points.shape[1])
        assert batch.pixels.shape == (2, 3, SPEC.image_size, SPEC.image_size)
        assert batch.points.shape[:2] == batch.labels.shape == (2 * sam_data.PROMPTS, sizes[-1])
        assert batch.points.min() >= 0 and batch.points.max() < SPEC.image_size
        assert batch.targets.amax(dim=(1, 2)).min() > 0.3
        if sizes[-1] in sam_data.EXCLUDING_SIZES:
            cells = (batch.points[:, 0] * MASK_SIZE / SPEC.image_size).long()
            at_click = batch.targets[range(len(cells)), cells[:, 1], cells[:, 0]]
            assert at_click.min() > 0
    assert tuple(sizes) == sam_data.PROMPT_SIZES


def test_positions_are_interpolated_for_a_larger_image() -> None:
    small = build_sam(replace(SPEC, image_size=256)).state_dict()
    grid = SPEC.image_size // SPEC.patch_size
    small["image_encoder.pos_embed"][:] = 0.25
    resized = {name: resize_positions(name, values) for name, values in small.items()}
    build_sam(SPEC).load_state_dict(resized)
    changed = [name for name in small if resized[name].shape != small[name].shape]
    tables = [f"image_encoder.blocks.{k}.attn.rel_pos_{a}" for k in (2, 5) for a in "hw"]
    assert sorted(changed) == sorted(["image_encoder.pos_embed", *tables])
    assert resized["image_encoder.pos_embed"].shape == (1, grid, grid, SPEC.encoder_dim)
    assert (resized["image_encoder.pos_embed"] - 0.25).abs().max() < 1e-6
    # Tensors with the correct size do not change.
    unchanged = {name: resize_positions(name, values) for name, values in resized.items()}
    assert all((unchanged[name] - resized[name]).abs().max() < 1e-6 for name in resized)
