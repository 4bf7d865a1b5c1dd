"""The fast SAM image encoder equals that of segment-anything in every form and shape."""

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
from torch.nn.attention import SDPBackend

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
    WideFoldedAttention,
    candidate_forms,
)

CPU = torch.device("cpu")
FORMS = [
    ExplicitAttention(),
    FoldedAttention(),
    WideFoldedAttention(SDPBackend.MATH),
    ChunkedAttention(1),  # one grid row of one head
    ChunkedAttention(3 * 20**3),  # three rows, not a divisor of 20
    ChunkedAttention(2**24),
    ProductAttention(1, folded=False),
    ProductAttention(3 * 20**3, folded=False),
    ProductAttention(2**24, folded=False),
    ProductAttention(3 * 20**3, folded=True),
    pytest.param(HeadwiseAttention(1), marks=needs_onednn(torch.float32)),
    pytest.param(HeadwiseAttention(3 * 20**2 * 20), marks=needs_onednn(torch.float32)),
]
FAST = candidate_forms(ComputeTarget(CPU, torch.float32))
SIDE = 320  # a grid of 20, so that windows of 14 need different paddings


def encoder(model: str, heads: int = 2) -> ImageEncoderViT:
    """Return an encoder with a windowed and a global block, and the real width of a head."""
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
    """Return images of this size in the corner of the square, as SAM pads them."""
    generator = torch.Generator().manual_seed(batch)
    image = torch.randn(batch, 3, *size_hw, generator=generator)
    return F.pad(image, (0, SIDE - size_hw[1], 0, SIDE - size_hw[0]))


@pytest.mark.parametrize("model", ["vit_b", "vit_l", "vit_h"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_attention_form_equals_segment_anything(model: str, form: AttentionForm) -> None:
    stock, x = encoder(model), pixels()
    result = FastImageEncoder(stock, forms=[form])(x)
    torch.testing.assert_close(result, stock(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("size_hw", [(320, 320), (180, 320), (320, 214)])
def test_batches_and_aspect_ratios_equal_segment_anything(
    batch: int, size_hw: tuple[int, int]
) -> None:
    stock, x = encoder("vit_b"), pixels(batch, size_hw)
    for form in FAST:
        result = FastImageEncoder(stock, forms=[form])(x, size_hw[0])
        torch.testing.assert_close(result, stock(x), atol=1e-4, rtol=0)


def test_wide_encoder_with_onednn_equals_segment_anything() -> None:
    stock, x = encoder("vit_b", heads=4), pixels(2, (180, 320))
    assert stock.pos_embed.shape[-1] >= MIN_ONEDNN_WIDTH
    torch.testing.assert_close(FastImageEncoder(stock)(x, 180), stock(x), atol=1e-4, rtol=0)


def test_images_with_different_paddings_in_sequence_equal_segment_anything() -> None:
    """The encoder caches window rows of padding; here 12, 16 and 1 of 20 rows show the image."""
    stock = encoder("vit_b")
    fast = FastImageEncoder(stock)
    for seed, size_hw in enumerate([(180, 320), (180, 320), (250, 320), (3, 320), (320, 160)]):
        x = pixels(1, size_hw) + 0.1 * seed * (pixels(1, size_hw) != 0)
        torch.testing.assert_close(fast(x, size_hw[0]), stock(x), atol=1e-4, rtol=0)
    empty = torch.zeros(1, 3, SIDE, SIDE)
    torch.testing.assert_close(fast(empty, 0), stock(empty), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", candidate_forms(ComputeTarget(CPU, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("model", ["vit_b", "vit_h"])
def test_bfloat16_encoder_is_closer_to_float32_than_segment_anything(
    model: str, form: AttentionForm
) -> None:
    stock, x = encoder(model), pixels(2)
    exact = stock(x)
    ours = FastImageEncoder(stock, dtype=torch.bfloat16, forms=[form])(x).float()
    theirs = stock.to(torch.bfloat16)(x.bfloat16()).float()
    assert (ours - exact).square().mean() < (theirs - exact).square().mean()


def test_fast_encoder_does_not_change_the_given_one() -> None:
    stock, x = encoder("vit_b"), pixels()
    before = stock(x)
    FastImageEncoder(stock, dtype=torch.bfloat16)(x)
    assert torch.equal(stock(x), before)


@dataclass(frozen=True)
class WithoutPositions:
    """A wrong form like known faulty kernels: plausible, but without positions."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class NotANumber:
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return (q * torch.nan).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("wrong", [WithoutPositions(), NotANumber()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_attention_form_is_not_used_and_logged(
    wrong: AttentionForm, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    stock, x = encoder("vit_b"), pixels()
    with caplog.at_level(logging.WARNING):
        result = FastImageEncoder(stock, dtype=dtype, forms=[wrong, FoldedAttention()])(x)
    assert f"{wrong} is wrong on this machine" in caplog.text
    assert "windows of 14" in caplog.text
    assert "windows of 0" in caplog.text
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(result.float(), stock(x), atol=tolerance, rtol=0)


def test_encoder_uses_segment_anything_if_all_forms_are_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stock, x = encoder("vit_b"), pixels()
    result = FastImageEncoder(stock, forms=[WithoutPositions()])(x)
    assert "no fast attention is correct on this machine" in caplog.text
    torch.testing.assert_close(result, stock(x), atol=1e-4, rtol=0)


def test_form_whose_kernel_the_device_lacks_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A CPU has no cuDNN; nobody is warned of that."""
    stock, x = encoder("vit_b"), pixels()
    with caplog.at_level(logging.INFO):
        result = FastImageEncoder(stock, forms=[WideFoldedAttention(), FoldedAttention()])(x)
    assert "CUDNN_ATTENTION: 3>) does not run on cpu" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    torch.testing.assert_close(result, stock(x), atol=1e-4, rtol=0)


def slow_in(slow: torch.dtype) -> Callable[[torch.dtype], Callable[[], object]]:
    return lambda dtype: partial(time.sleep, 0.02 if dtype == slow else 0.0)


def test_faster_dtype_replaces_only_slow_bfloat16_by_float32() -> None:
    exact, half = torch.float32, torch.bfloat16
    assert faster_dtype("exact", exact, CPU, slow_in(exact)) == exact
    assert faster_dtype("slow exact", half, CPU, slow_in(exact)) == half
    assert faster_dtype("slow half", half, CPU, slow_in(half)) == exact
    # A GPU is not measured.
    assert faster_dtype("GPU", half, torch.device("cuda:0"), slow_in(half)) == half
    net = encoder("vit_b")
    assert encoder_dtype(net, exact, CPU) == exact
    assert encoder_dtype(net, half, CPU) in (half, exact)


def test_chunks_fit_into_the_score_buffer() -> None:
    steps: list[Sequence[int]] = []
    for batch, heads, side in [(25, 12, 14), (1, 12, 64), (1, 2, 20)]:
        rows = torch.zeros(batch, heads, side, side, side)
        batches, heads_at_once, lines = ScoreBuffer(rows, 2**20).steps
        steps.append((batches, heads_at_once, lines))
        assert batches * heads_at_once * lines * side**3 <= max(2**20, side**3)
    assert steps == [(2, 12, 14), (1, 1, 4), (1, 2, 20)]
