"""CLIP Surgery on any grid, batch and precision, without changes to the network."""

from __future__ import annotations

import math

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from small_networks import small_clip
from torch import Tensor

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.surgery import PositionTable


def backend(model: CLIP, **options: object) -> ClipBackend:
    return ClipBackend(model, open_clip.SimpleTokenizer(), **options)


@pytest.fixture(params=["vit", "resnet"])
def model(request: pytest.FixtureRequest) -> CLIP:
    return small_clip(resnet=request.param == "resnet")


@pytest.fixture
def clip(model: CLIP) -> ClipBackend:
    return backend(model)


def pixels(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def literal_mix(attention: str, z: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute the new path by head and token on a 4 x 4 grid: (1, heads, N, d)."""
    scale, mixed = 1 / math.sqrt(q.shape[-1]), torch.zeros_like(v)
    sharpness = sum(row.norm().item() for row in z[0]) / len(z[0]) * scale
    for head in range(q.shape[1]):
        query, key, value = q[0, head], k[0, head], v[0, head]
        for i in range(len(value)):
            if attention == "v-v":
                weights = (scale * value @ value[i]).softmax(0)
            elif attention == "k-k":
                weights = (scale * key @ key[i]).softmax(0)
            elif attention == "naclip":
                near = [
                    0 if 0 in (i, j) else math.exp(-distance2(i - 1, j - 1) / (2 * 5**2))
                    for j in range(len(value))
                ]
                weights = (scale * key @ key[i] + torch.tensor(near)).softmax(0)
            else:
                weights = sum(gem_weights(rows, sharpness)[i] for rows in (query, key, value)) / 3
            mixed[0, head, i] = weights @ value
    return mixed


def distance2(i: int, j: int) -> int:
    return (i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2


def gem_weights(rows: Tensor, sharpness: float) -> Tensor:
    """Return GEM's attention weights of one projection, (N, N)."""
    unit = rows / rows.norm(dim=-1, keepdim=True)
    grouped = (sharpness * unit @ unit.T).softmax(-1) @ unit
    unit = grouped / grouped.norm(dim=-1, keepdim=True)
    return (sharpness * unit @ unit.T).softmax(-1)


def literal_surgery(model: CLIP, image: Tensor, attention: str = "v-v") -> Tensor:
    """Compute the method with explicit attention matrices and both paths for all tokens."""
    visual = model.visual
    x = visual.conv1(image).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1)
    original = visual.ln_pre(x + visual.positional_embedding)
    blocks = list(visual.transformer.resblocks)
    new = original
    for index, block in enumerate(blocks):
        heads = block.attn.num_heads
        z = block.ln_1(original)
        qkv = z @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
        scale = 1 / math.sqrt(q.shape[-1])

        def add(a: Tensor, b: Tensor, v: Tensor = v, scale: float = scale) -> Tensor:
            return ((scale * a @ b.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2)

        if index == max(0, len(blocks) - 6):
            new = original
        if index >= len(blocks) - 6:
            mixed = literal_mix(attention, z, q, k, v)
            new = new + block.attn.out_proj(mixed.transpose(1, 2).flatten(2))
        original = original + block.attn.out_proj(add(q, k))
        original = original + block.mlp(block.ln_2(original))
    new[:, 0] = original[:, 0]
    return visual.ln_post(new) @ visual.proj


@pytest.mark.parametrize("attention", ["v-v", "k-k", "gem", "naclip"])
def test_attention_equals_its_formula(attention: str) -> None:
    model, image = small_clip(layers=2), pixels(1, 64, 64)
    with torch.no_grad():
        expected = literal_surgery(model, image, attention)
    actual = backend(model, attention=attention).surgery_tokens(image)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_unknown_attention_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'q-k' is none of v-v, k-k, gem, naclip"):
        backend(small_clip(), attention="q-k")


@pytest.mark.parametrize("attention", ["k-k", "gem", "naclip"])
def test_attention_works_on_any_grid_of_vit_and_resnet(attention: str) -> None:
    for resnet in (False, True):
        clip = backend(small_clip(resnet=resnet), attention=attention)
        tokens = clip.surgery_tokens(pixels(2, 64, 128))
        assert tokens.isfinite().all() and len(tokens) == 2


@pytest.mark.parametrize("layers", [6, 8])
def test_surgery_tokens_equal_the_literal_method(layers: int) -> None:
    model, image = small_clip(layers), pixels(1, 64, 64)
    with torch.no_grad():
        expected = literal_surgery(model, image)
    actual = backend(model).surgery_tokens(image)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_plain_cls_token_equals_open_clip(model: CLIP, clip: ClipBackend) -> None:
    image = pixels(1, 64, 64)
    expected = model.encode_image(image)
    torch.testing.assert_close(clip.plain_tokens(image)[:, 0], expected, atol=1e-5, rtol=0)


def test_batch_of_two_images_equals_single_images(clip: ClipBackend) -> None:
    pair = pixels(2, 64, 64)
    separate = torch.cat([clip.surgery_tokens(pair[:1]), clip.surgery_tokens(pair[1:])])
    torch.testing.assert_close(clip.surgery_tokens(pair), separate, atol=1e-5, rtol=0)


def test_change_of_the_grid_does_not_change_the_network(model: CLIP, clip: ClipBackend) -> None:
    small, large = pixels(1, 64, 64), pixels(1, 160, 160)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = clip.surgery_tokens(small)
    clip.surgery_tokens(large)
    assert torch.equal(clip.surgery_tokens(small), first)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("size_hw", [(64, 128), (128, 32), (32, 32)])
def test_any_grid_gives_one_token_per_patch(clip: ClipBackend, size_hw: tuple[int, int]) -> None:
    image = pixels(1, *size_hw)
    rows, columns = clip.grid_hw(image)
    patch = size_hw[0] // rows
    assert (rows * patch, columns * patch) == size_hw
    assert clip.surgery_tokens(image).shape == (1, 1 + rows * columns, 32)
    assert clip.plain_tokens(image).shape == (1, 1 + rows * columns, 32)


def test_positions_of_a_wide_grid_are_interpolated() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.cat([torch.zeros(1, 2), torch.stack([rows, columns], -1).reshape(-1, 2)])
    wide = PositionTable(table, (4, 4))((4, 8))[1:].reshape(4, 8, 2)
    # Bilinear without aligned corners: halfway between neighbours, a quarter off at each end.
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(wide[0, :, 1], expected)
    torch.testing.assert_close(wide[:, 0, 0], torch.arange(4.0))


@pytest.mark.parametrize("size_hw", [(60, 64), (64, 0)])
def test_image_size_that_is_no_multiple_of_the_patch_is_rejected(
    clip: ClipBackend, size_hw: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError, match="multiples of"):
        clip.surgery_tokens(torch.zeros(1, 3, *size_hw))


def test_input_size_that_is_no_multiple_of_the_patch_is_rejected() -> None:
    with pytest.raises(ConfigError, match="use 96"):
        backend(small_clip(), input_size=100)


def test_text_longer_than_the_context_is_truncated_with_a_warning(
    clip: ClipBackend, caplog: pytest.LogCaptureFixture
) -> None:
    feature = clip.text_features(["mug " * 200])
    assert "was cut" in caplog.text
    assert torch.isfinite(feature).all()
    assert feature.norm().item() == pytest.approx(1, abs=1e-5)


def test_text_is_encoded_once(clip: ClipBackend) -> None:
    first = clip.text_features(["mug", "hammer"])
    again = clip.text_features(["hammer", "mug", "mug"])
    assert clip.text_counts == TextCounts(encoded=2, reused=3)
    assert torch.equal(again, first[[1, 0, 0]])


def test_short_prompts_equal_prompts_of_full_length(model: CLIP, clip: ClipBackend) -> None:
    prompts = ["a photo of a mug.", "a hammer"]
    full = model.encode_text(open_clip.tokenize(prompts))
    torch.testing.assert_close(clip.text.encode_prompts(prompts), full, atol=1e-5, rtol=0)


def test_preprocessing_equals_the_published_transform(clip: ClipBackend) -> None:
    from PIL import Image
    from torchvision import transforms

    image = np.random.default_rng(0).integers(0, 256, (90, 140, 3), np.uint8)
    published = transforms.Compose(
        [
            transforms.Resize((64, 64), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        ]
    )
    expected = published(Image.fromarray(image)).unsqueeze(0)
    torch.testing.assert_close(clip.preprocess(image), expected, atol=1e-6, rtol=0)
