"""Layers of transformers for inference, on weights that are in place.

On CPUs torch multiplies float32 by MKL, which on an AMD EPYC reaches half of oneDNN's speed.
Layers by oneDNN also apply their activation while the product is still in registers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.arithmetic.timing import best_seconds, fastest

_LOG = logging.getLogger(__name__)
NARROW = 256
"""Networks of fewer channels, as the demo's, stay with torch's products: they would win some
milliseconds, and oneDNN keeps half a megabyte for good for each size of layer and input."""
TOKENS = 1024
"""Tokens per step; what a layer makes of them takes some megabytes."""
_TRIAL = (256, 768, 1536)
"""Tokens, and a layer's width before and after: large enough to time, and soon done."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Of oneDNN's products, relative and absolute, for numbers of the usual size."""
_IN_PLACE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.ops.aten.gelu_,
    "swish": partial(F.silu, inplace=True),
}
"""Activations by oneDNN's names."""


@dataclass(frozen=True)
class ComputeTarget:
    """Device and precision in use.

    :param onednn: whether oneDNN may be called for products, where that is faster.
    """

    device: torch.device
    dtype: torch.dtype
    onednn: bool = True

    @classmethod
    def of_network(cls, device: torch.device, dtype: torch.dtype, width: int) -> ComputeTarget:
        """For a network of this many channels."""
        return cls(device, dtype, onednn=width >= NARROW)

    def move(self, tensor: Tensor) -> Tensor:
        """The tensor there; itself when it is there already."""
        return tensor.detach().to(self.device, self.dtype)


@dataclass(frozen=True)
class Norm:
    """LayerNorm over the last dimension."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, norm: Any, target: ComputeTarget) -> Norm:
        """From torch's LayerNorm or one with attributes of the same names."""
        return cls(target.move(norm.weight), target.move(norm.bias), norm.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Linear:
    """A linear layer.

    :param activation: applied to the product: ``none``, ``gelu`` or ``swish``, ``x sigmoid(x)``.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str = "none"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return _IN_PLACE[self.activation](F.linear(x, self.weight, self.bias))


@dataclass(frozen=True)
class OneDnnLinear:
    """:class:`Linear` by oneDNN, as torch's compiler calls it.

    :param weight: in oneDNN's own layout or torch's.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str = "none"

    @classmethod
    def of(cls, layer: Linear) -> OneDnnLinear:
        """In bfloat16 the weights are laid out anew, which is 4 % faster; not in float32, where it
        would be no faster and need the memory of a second copy.
        """
        weight = layer.weight.contiguous()
        if weight.dtype == torch.bfloat16:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS)
        return cls(weight, layer.bias, layer.activation)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return _by_onednn(x.contiguous(), self.weight, self.bias, self.activation)


Layer = Linear | OneDnnLinear


@dataclass(frozen=True)
class Mlp:
    """``x += shrink(expand(norm(x)))`` in chunks whose hidden layer stays in a cache.

    :param expand: with the activation.
    :param between: the activation, where layers know none of its kind.
    """

    norm: Norm
    expand: Layer
    shrink: Layer
    between: Callable[[Tensor], Tensor] = _IN_PLACE["none"]

    def add_to(self, x: Tensor) -> None:
        """(..., C), contiguous, changed in place."""
        tokens = x.view(-1, x.shape[-1])
        for part in tokens.tensor_split(max(1, len(tokens) // TOKENS)):
            part += self.shrink(self.between(self.expand(self.norm(part))))


def fast_linear(
    weight: Tensor, bias: Tensor | None, target: ComputeTarget, activation: str = "none"
) -> Layer:
    """A layer there, by oneDNN where it may be, is right and is faster.

    :param weight: (out, in), as torch's ``Linear`` has it, and its bias (out,).
    :param activation: see :class:`Linear`.
    """
    plain = Linear(target.move(weight), None if bias is None else target.move(bias), activation)
    return OneDnnLinear.of(plain) if is_onednn_faster(target) else plain


@torch.inference_mode()
def bfloat16_speedup() -> float:
    """How many times as fast as in float32 a CPU computes a layer in bfloat16."""
    (tokens, before, after), runs = _TRIAL, {}
    for dtype in (torch.float32, torch.bfloat16):
        target = ComputeTarget(torch.device("cpu"), dtype)
        layer = fast_linear(noise(after, before), None, target, "gelu")
        runs[dtype] = partial(layer, target.move(noise(tokens, before)))
    seconds = best_seconds(runs)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether a result is as near to torch's own as rounding lets it."""
    within = _TOLERANCE[expected.dtype]
    return torch.allclose(found, expected, rtol=within, atol=within)


def noise(*shape: int) -> Tensor:
    """Standard normal numbers, always the same; torch's own generator stays where it is."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def onednn_product(x: Tensor, other: Tensor) -> Tensor:
    """(N, C) times the transpose of (M, C): (N, M).

    Each must lie in memory without gaps, row by row or column by column: for others oneDNN has
    no fast kernel.
    """
    return _by_onednn(x, other, None, "none")


@cache
@torch.inference_mode()
def is_onednn_available(target: ComputeTarget) -> bool:
    """Whether this torch has oneDNN's products for the type, the processor the instructions that
    they want, and they are right.
    """
    if not target.onednn or target.device.type != "cpu" or target.dtype not in _TOLERANCE:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    x = target.move(noise(16, 64))
    try:
        if target.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        return close(onednn_product(x, x), x @ x.mT)
    except (AttributeError, RuntimeError) as error:  # of torch's builds for other processors
        _LOG.info("oneDNN's products are not used: %s", error)
        return False


@cache
@torch.inference_mode()
def is_onednn_faster(
    target: ComputeTarget, by_onednn: Callable[[Linear], Layer] = OneDnnLinear.of
) -> bool:
    """Whether layers are right and faster by oneDNN there: tried once, since oneDNN keeps memory
    for every size of layer and input that it saw.

    :param by_onednn: makes the layer to try.
    """
    if not is_onednn_available(target):
        return False
    tokens, before, after = _TRIAL
    x = target.move(noise(tokens, before))
    weight = target.move(noise(after, before) * before**-0.5)  # so that numbers keep their size
    plain = [Linear(weight, weight[:, 0].contiguous(), activation) for activation in _IN_PLACE]
    tried = [by_onednn(layer) for layer in plain]
    if not all(close(one(x), other(x)) for one, other in zip(tried, plain, strict=True)):
        _LOG.warning("oneDNN's linear layers are wrong on this machine and are not used")
        return False
    return fastest({True: partial(tried[-1], x), False: partial(plain[-1], x)})


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return out
