"""SAM's image encoder computes what segment-anything's own does, in every form and shape."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from onednn import needs_onednn
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from clip_surgery_ros.arithmetic.layers import MIN_ONEDNN_WIDTH, ComputeTarget
from clip_surgery_ros.networks.sam.build import SPECS, build_sam
from clip_surgery_ros.networks.sam.encoder import FastImageEncoder, encoder_dtype, faster_dtype
from clip_surgery_ros.networks.sam.encoder_attention import (
    AttentionForm,
    ChunkedAttention,
    ExplicitAttention,
    FoldedAttention,
    HeadwiseAttention,
    ProductAttention,
    ScoreBuffer,
    candidate_forms,
)

CPU = torch.device("cpu")
FORMS = [
    ExplicitAttention(),
    FoldedAttention(),
    ChunkedAttention(1),  # one grid row of one head
    ChunkedAttention(3 * 20**3),  # three rows, which do not divide 20
    ChunkedAttention(2**24),
    ProductAttention(1, folded=False),
    ProductAttention(3 * 20**3, folded=False),
    ProductAttention(2**24, folded=False),
    ProductAttention(3 * 20**3, folded=True),
    pytest.param(HeadwiseAttention(1), marks=needs_onednn(torch.float32)),
    pytest.param(HeadwiseAttention(3 * 20**2 * 20), marks=needs_onednn(torch.float32)),
]
FAST = candidate_forms(ComputeTarget(CPU, torch.float32))
SIDE = 320  # a grid of 20, so that windows of 14 are padded, each in its own way


def encoder(model: str, heads: int = 2) -> ImageEncoderViT:
    """One windowed and one global block with the true width of a head."""
    spec = SPECS[model]
    width = spec.encoder_dim // spec.encoder_heads
    torch.manual_seed(0)
    small = replace(
        spec,
        image_size=SIDE,
        encoder_dim=heads * width,
        encoder_heads=heads,
        encoder_depth=2,
        global_attn_indexes=(1,),
    )
    net = build_sam(small).image_encoder.eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            parameter.normal_(std=0.3)  # zero when untrained
    return net


def pixels(batch: int = 1, size_hw: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """Images of that size in the corner of the square, as SAM pads them."""
    generator = torch.Generator().manual_seed(batch)
    image = torch.randn(batch, 3, *size_hw, generator=generator)
    return F.pad(image, (0, SIDE - size_hw[1], 0, SIDE - size_hw[0]))


@pytest.mark.parametrize("model", ["vit_b", "vit_l", "vit_h"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_equals_segment_anything(model: str, form: AttentionForm) -> None:
    stock, x = encoder(model), pixels()
    found = FastImageEncoder(stock, forms=[form])(x)
    torch.testing.assert_close(found, stock(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("size_hw", [(320, 320), (180, 320), (320, 214)])
def test_batches_and_aspect_ratios_equal_segment_anything(
    batch: int, size_hw: tuple[int, int]
) -> None:
    stock, x = encoder("vit_b"), pixels(batch, size_hw)
    for form in FAST:
        found = FastImageEncoder(stock, forms=[form])(x)
        torch.testing.assert_close(found, stock(x), atol=1e-4, rtol=0)


def test_an_encoder_wide_enough_for_onednn_equals_segment_anything() -> None:
    stock, x = encoder("vit_b", heads=4), pixels(2, (180, 320))
    assert stock.pos_embed.shape[-1] >= MIN_ONEDNN_WIDTH
    torch.testing.assert_close(FastImageEncoder(stock)(x), stock(x), atol=1e-4, rtol=0)


def test_one_image_after_the_other_whatever_their_padding() -> None:
    """Rows of windows that show nothing are remembered: here 12, 16 and 1 of 20 show something."""
    stock = encoder("vit_b")
    fast = FastImageEncoder(stock)
    for seed, size_hw in enumerate([(180, 320), (180, 320), (250, 320), (3, 320), (320, 160)]):
        x = pixels(1, size_hw) + 0.1 * seed * (pixels(1, size_hw) != 0)
        torch.testing.assert_close(fast(x), stock(x), atol=1e-4, rtol=0)
    nothing = torch.zeros(1, 3, SIDE, SIDE)
    torch.testing.assert_close(fast(nothing), stock(nothing), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", candidate_forms(ComputeTarget(CPU, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("model", ["vit_b", "vit_h"])
def test_bfloat16_is_nearer_to_float32_than_segment_anything_s(
    model: str, form: AttentionForm
) -> None:
    stock, x = encoder(model), pixels(2)
    exact = stock(x)
    ours = FastImageEncoder(stock, dtype=torch.bfloat16, forms=[form])(x).float()
    theirs = stock.to(torch.bfloat16)(x.bfloat16()).float()
    assert (ours - exact).square().mean() < (theirs - exact).square().mean()


def test_the_encoder_that_was_given_stays_as_it_was() -> None:
    stock, x = encoder("vit_b"), pixels()
    before = stock(x)
    FastImageEncoder(stock, dtype=torch.bfloat16)(x)
    assert torch.equal(stock(x), before)


@dataclass(frozen=True)
class ForgetsPositions:
    """A form as wrong as the faulty kernels that were seen: plausible, without the positions."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class NotANumber:
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return (q * torch.nan).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("wrong", [ForgetsPositions(), NotANumber()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wrong_kernel_is_refused_and_named(
    wrong: AttentionForm, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    stock, x = encoder("vit_b"), pixels()
    with caplog.at_level(logging.WARNING):
        found = FastImageEncoder(stock, dtype=dtype, forms=[wrong, FoldedAttention()])(x)
    assert f"{wrong} is wrong on this machine" in caplog.text
    assert "windows of 14" in caplog.text
    assert "windows of 0" in caplog.text
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(found.float(), stock(x), atol=tolerance, rtol=0)


def test_without_a_right_kernel_segment_anything_s_own_arithmetic_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stock, x = encoder("vit_b"), pixels()
    found = FastImageEncoder(stock, forms=[ForgetsPositions()])(x)
    assert "no fast attention is right here" in caplog.text
    torch.testing.assert_close(found, stock(x), atol=1e-4, rtol=0)


def slow_in(slow: torch.dtype) -> Callable[[torch.dtype], Callable[[], object]]:
    return lambda dtype: partial(time.sleep, 0.02 if dtype == slow else 0.0)


def test_float32_is_never_given_up_and_half_precision_only_for_speed() -> None:
    exact, half = torch.float32, torch.bfloat16
    assert faster_dtype(exact, CPU, slow_in(exact)) == exact
    assert faster_dtype(half, CPU, slow_in(exact)) == half
    assert faster_dtype(half, CPU, slow_in(half)) == exact
    assert faster_dtype(half, torch.device("cuda:0"), slow_in(half)) == half  # not tried there
    net = encoder("vit_b")
    assert encoder_dtype(net, exact, CPU) == exact
    assert encoder_dtype(net, half, CPU) in (half, exact)


def test_chunks_stay_within_their_buffer() -> None:
    seen: list[Sequence[int]] = []
    for batch, heads, side in [(25, 12, 14), (1, 12, 64), (1, 2, 20)]:
        rows = torch.zeros(batch, heads, side, side, side)
        some, few, lines = ScoreBuffer(rows, 2**20).steps
        seen.append((some, few, lines))
        assert some * few * lines * side**3 <= max(2**20, side**3)
    assert seen == [(2, 12, 14), (1, 1, 4), (1, 2, 20)]
