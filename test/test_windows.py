"""Windows of the picture: the positions of their tokens, and their effect."""

from __future__ import annotations

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from ros.known_scene import known_scene
from torch import Tensor

from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.windows import SHARE, encode_image, fine_grid, merge_windows
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config

GRID = (6, 9)


class FakeClip:
    """A fake CLIP: a token is the colour of its cell, without surgery the inverse colour.

    It records the batch sizes.
    """

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def preprocess(self, *images_rgb: NDArray[np.uint8]) -> Tensor:
        cells = [
            cv2.resize(image, GRID[::-1], interpolation=cv2.INTER_AREA) for image in images_rgb
        ]
        return torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).float()

    def grid_hw(self, pixel_values: Tensor) -> tuple[int, int]:
        return pixel_values.shape[2], pixel_values.shape[3]

    def surgery_tokens(self, pixel_values: Tensor) -> Tensor:
        self.batch_sizes.append(len(pixel_values))
        cells = pixel_values.flatten(2).mT
        return torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)

    def plain_tokens(self, pixel_values: Tensor) -> Tensor:
        return self.surgery_tokens(255 - pixel_values)


def picture() -> NDArray[np.uint8]:
    """Return a 120 x 180 picture with colour gradients, where all colours differ."""
    rows, columns = np.mgrid[0:120, 0:180]
    return np.stack([255 - rows, 40 + columns, 20 + rows], axis=2).astype(np.uint8)


def test_tokens_without_windows_are_those_of_the_encoder() -> None:
    encoder = FakeClip()
    tokens, grid_hw = encode_image(encoder, encoder.surgery_tokens, picture(), windows=False)
    assert (grid_hw, encoder.batch_sizes) == (GRID, [1])
    expected = F.normalize(encoder.surgery_tokens(encoder.preprocess(picture())), dim=-1)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_tokens_with_windows_have_the_same_positions_on_a_finer_grid(plain: bool) -> None:
    encoder = FakeClip()
    encode = encoder.plain_tokens if plain else encoder.surgery_tokens
    tokens, grid_hw = encode_image(encoder, encode, picture(), windows=True)
    assert (grid_hw, encoder.batch_sizes) == ((10, 15), [5])
    shown = 255 - picture() if plain else picture()
    cells = cv2.resize(shown, grid_hw[::-1], interpolation=cv2.INTER_AREA)
    expected = F.normalize(torch.from_numpy(cells).float().flatten(0, 1), dim=-1)
    # Tokens of the whole picture have coarser cells, so gradients differ slightly.
    torch.testing.assert_close(tokens[0, 1:], expected, rtol=0, atol=0.03)
    whole = encoder.preprocess(picture())
    cls = F.normalize(encode(whole)[:, :1], dim=-1)
    torch.testing.assert_close(tokens[:, :1], cls)


def test_cell_is_the_mean_of_the_views_that_show_it() -> None:
    """Each view has a different direction, so that a token shows which views it averages."""
    tokens = torch.eye(5)[:, None, :].expand(5, 1 + GRID[0] * GRID[1], 5)
    rows, columns = fine_grid(GRID)
    assert (rows, columns) == (round(GRID[0] / SHARE), round(GRID[1] / SHARE))
    merged = merge_windows(tokens, GRID)
    shown_by = merged[0, 1:].unflatten(0, (rows, columns)) > 0
    torch.testing.assert_close(merged[0, 0], tokens[0, 0])
    torch.testing.assert_close(merged.norm(dim=-1), torch.ones(1, 1 + rows * columns))
    assert shown_by[..., 0].all()
    top, left = slice(0, GRID[0]), slice(0, GRID[1])
    low, right = slice(rows - GRID[0], None), slice(columns - GRID[1], None)
    for view, part in enumerate([(top, left), (top, right), (low, left), (low, right)], 1):
        expected = torch.zeros(rows, columns, dtype=torch.bool)
        expected[part] = True
        torch.testing.assert_close(shown_by[..., view], expected)


@pytest.mark.parametrize("size_hw", [(8, 8), (8, 300), (301, 9)])
def test_windows_work_for_small_and_narrow_pictures(
    networks: LoadedNetworks, size_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    result = networks.pipeline(Config.from_values()).run(image, query_of(["cat"]))
    side = networks.clip.input_size // 8
    assert result.similarity.shape == (1, *fine_grid((side, side)))
    assert np.isfinite(result.similarity).all()


def test_reference_recipe_has_no_windows(networks: LoadedNetworks) -> None:
    config = Config.from_values({"recipe": "reference", "clip_windows": "always"})
    result = networks.pipeline(config).run(known_scene().image, query_of(["cat"]))
    side = networks.clip.input_size // 8
    assert result.similarity.shape == (1, side, side)


@pytest.mark.parametrize(("choice", "expected"), [("always", True), ("never", False)])
def test_windows_are_used_as_they_are_asked_for(
    networks: LoadedNetworks, choice: str, expected: bool
) -> None:
    config = Config.from_values({"clip_windows": choice})
    assert networks.windows(config) is networks.settings(config).windows is expected


def test_default_uses_windows_only_where_presence_was_fitted_with_them(
    networks: LoadedNetworks,
) -> None:
    config = Config.from_values()
    assert networks.windows(config)
    assert not networks.windows(replace(config, recipe="reference"))
    unknown = copy.copy(networks.clip)
    unknown.traits = ClipTraits()
    unfitted = replace(networks, clip=unknown, profiles=())
    assert not unfitted.windows(config) and not unfitted.settings(config).windows
    assert replace(unfitted, profiles=networks.profiles).windows(config)


def test_windows_find_more_small_objects(
    networks: LoadedNetworks,
) -> None:
    recall = {}
    for windows in ("never", "fitted"):
        pipeline = networks.pipeline(Config.from_values({"clip_windows": windows}))
        found, total = 0, 0
        for scene in WorldScenes().examples("small", "development", 15):
            result = pipeline.run(scene.image, query_of(scene.present))
            found += len(scene.present) - len(result.absent)
            total += len(scene.present)
        recall[windows] = found / total
    assert recall["fitted"] > recall["never"] + 0.03
    assert recall["fitted"] > 0.75
