"""Windows beside the whole picture: where their tokens go, and what they are worth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.windows import SHARE, encode_image, fine_grid, merge_windows
from clip_surgery_ros.networks.factory import LoadedNetworks, load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.world.scene_sets import SCENE_SETS

GRID = (6, 9)


class Pixels:
    """Every token is the colour of its cell, the inverse one without surgery; tells how many
    pictures it saw.
    """

    def __init__(self) -> None:
        self.seen: list[int] = []

    def preprocess(self, image_rgb: NDArray[np.uint8]) -> Tensor:
        cells = cv2.resize(image_rgb, GRID[::-1], interpolation=cv2.INTER_AREA)
        return torch.from_numpy(cells).permute(2, 0, 1)[None].float()

    def grid_hw(self, pixel_values: Tensor) -> tuple[int, int]:
        return pixel_values.shape[2], pixel_values.shape[3]

    def surgery_tokens(self, pixel_values: Tensor) -> Tensor:
        self.seen.append(len(pixel_values))
        cells = pixel_values.flatten(2).mT
        return torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)

    def plain_tokens(self, pixel_values: Tensor) -> Tensor:
        return self.surgery_tokens(255 - pixel_values)


@pytest.fixture(scope="module")
def networks() -> LoadedNetworks:
    return load_networks(Config.from_values())


def picture() -> NDArray[np.uint8]:
    """Colours that change slowly and are the same nowhere, on 120 x 180 pixels."""
    rows, columns = np.mgrid[0:120, 0:180]
    return np.stack([255 - rows, 40 + columns, 20 + rows], axis=2).astype(np.uint8)


def test_without_windows_it_is_the_encoders_own_answer() -> None:
    encoder = Pixels()
    tokens, grid_hw = encode_image(encoder, encoder.surgery_tokens, picture(), windows=False)
    assert (grid_hw, encoder.seen) == (GRID, [1])
    expected = F.normalize(encoder.surgery_tokens(encoder.preprocess(picture())), dim=-1)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_windows_show_the_same_places_on_a_finer_grid(plain: bool) -> None:
    encoder = Pixels()
    encode = encoder.plain_tokens if plain else encoder.surgery_tokens
    tokens, grid_hw = encode_image(encoder, encode, picture(), windows=True)
    assert (grid_hw, encoder.seen) == ((10, 15), [5])
    shown = 255 - picture() if plain else picture()
    cells = cv2.resize(shown, grid_hw[::-1], interpolation=cv2.INTER_AREA)
    expected = F.normalize(torch.from_numpy(cells).float().flatten(0, 1), dim=-1)
    # The whole picture's own cells are coarser: a gradient is off by a fraction of a cell.
    torch.testing.assert_close(tokens[0, 1:], expected, rtol=0, atol=0.03)
    whole = encoder.preprocess(picture())
    cls = F.normalize(encode(whole)[:, :1], dim=-1)
    torch.testing.assert_close(tokens[:, :1], cls)


def test_a_cell_is_the_mean_of_the_looks_that_show_it() -> None:
    """Each look says a direction of its own, so that a token tells which were averaged."""
    tokens = torch.eye(5)[:, None, :].expand(5, 1 + GRID[0] * GRID[1], 5)
    rows, columns = fine_grid(GRID)
    assert (rows, columns) == (round(GRID[0] / SHARE), round(GRID[1] / SHARE))
    merged = merge_windows(tokens, GRID)
    seen = merged[0, 1:].unflatten(0, (rows, columns)) > 0
    torch.testing.assert_close(merged[0, 0], tokens[0, 0])
    torch.testing.assert_close(merged.norm(dim=-1), torch.ones(1, 1 + rows * columns))
    assert seen[..., 0].all()
    top, left = slice(0, GRID[0]), slice(0, GRID[1])
    low, right = slice(rows - GRID[0], None), slice(columns - GRID[1], None)
    for look_at, part in enumerate([(top, left), (top, right), (low, left), (low, right)], 1):
        shown = torch.zeros(rows, columns, dtype=torch.bool)
        shown[part] = True
        torch.testing.assert_close(seen[..., look_at], shown)


@pytest.mark.parametrize("size_hw", [(8, 8), (8, 300), (301, 9)])
def test_small_and_narrow_pictures_have_windows_too(
    networks: LoadedNetworks, size_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    result = networks.pipeline(Config.from_values()).run(image, query_of(["cat"]))
    side = networks.clip.input_size // 8
    assert result.similarity.shape == (1, *fine_grid((side, side)))
    assert np.isfinite(result.similarity).all()


def test_the_published_recipe_never_has_windows(networks: LoadedNetworks) -> None:
    config = Config.from_values({"recipe": "reference", "clip_windows": True})
    scene = SCENE_SETS["small"].scenes("development", 1)
    image = next(iter(scene)).image
    result = networks.pipeline(config).run(image, query_of(["cat"]))
    side = networks.clip.input_size // 8
    assert result.similarity.shape == (1, side, side)


def test_small_objects_are_found_that_the_whole_picture_does_not_show(
    networks: LoadedNetworks,
) -> None:
    found = {}
    for windows in (False, True):
        pipeline = networks.pipeline(Config.from_values({"clip_windows": windows}))
        hits, asked = 0, 0
        for scene in SCENE_SETS["small"].scenes("development", 15):
            names = sorted(set(scene.names))
            result = pipeline.run(scene.image, query_of(names))
            hits += len(names) - len(result.absent)
            asked += len(names)
        found[windows] = hits / asked
    assert found[True] > found[False] + 0.03
    assert found[True] > 0.95
