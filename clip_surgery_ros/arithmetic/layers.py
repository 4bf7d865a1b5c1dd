"""Linear layers, LayerNorms and MLPs of transformers, for inference.

On CPUs torch multiplies float32 with MKL, which on an AMD EPYC reaches half of oneDNN's speed.
oneDNN's layers also apply the activation while the product is still in registers.
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

from clip_surgery_ros.arithmetic.timing import best_seconds, cached_choice, fastest

_LOG = logging.getLogger(__name__)
MIN_ONEDNN_WIDTH = 256
"""Networks with fewer channels, such as the demo's, use torch's products only. oneDNN would save
a few milliseconds, but it keeps half a megabyte for each size of layer and input until the process
ends."""
TOKENS_PER_STEP = 1024
"""On CPUs. The output of a layer for these tokens takes a few megabytes."""
_TRIAL = (256, 768, 1536)
"""Tokens, input width and output width of a trial: large enough to time, and short."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest error of oneDNN's products, relative and absolute, for values near 1."""
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.ops.aten.gelu_,
    "swish": partial(F.silu, inplace=True),
}
"""Activations by oneDNN's names; they overwrite their argument."""


@dataclass(frozen=True)
class ComputeTarget:
    """The device and the precision that layers compute on.

    :param onednn: whether oneDNN may compute products, where that is faster.
    """

    device: torch.device
    dtype: torch.dtype
    onednn: bool = True

    @classmethod
    def of_network(cls, device: torch.device, dtype: torch.dtype, width: int) -> ComputeTarget:
        """Return the target of a network with this number of channels."""
        return cls(device, dtype, onednn=width >= MIN_ONEDNN_WIDTH)

    def move(self, tensor: Tensor) -> Tensor:
        """Return the tensor on this device in this precision; itself when it is so already."""
        return tensor.detach().to(self.device, self.dtype)


@dataclass(frozen=True)
class Norm:
    """LayerNorm over the last dimension."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, norm: Any, target: ComputeTarget) -> Norm:
        """Make it from torch's LayerNorm or a module with the same attributes."""
        return cls(target.move(norm.weight), target.move(norm.bias), norm.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise (..., C)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Linear:
    """A linear layer.

    :param activation: of the output: ``none``, ``gelu`` or ``swish``, which is ``x sigmoid(x)``.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str = "none"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return _ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))


@dataclass(frozen=True)
class OneDnnLinear:
    """A :class:`Linear` that oneDNN computes, with the call that torch's compiler makes.

    :param weight: in oneDNN's memory layout or torch's.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str = "none"

    @classmethod
    def of(cls, layer: Linear) -> OneDnnLinear:
        """Convert a layer.

        In bfloat16 the weights get oneDNN's memory layout, which is 4 % faster. In float32 that is
        not faster and takes the memory of a second copy.
        """
        weight = layer.weight.contiguous()
        if weight.dtype == torch.bfloat16:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS_PER_STEP)
        return cls(weight, layer.bias, layer.activation)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return _onednn_linear(x.contiguous(), self.weight, self.bias, self.activation)


Layer = Linear | OneDnnLinear


@dataclass(frozen=True)
class Mlp:
    """``x += shrink(activation(expand(norm(x))))``, on CPUs in chunks that fit into a cache.

    :param expand: the first layer; it may apply the activation itself.
    :param shrink: the second layer.
    :param activation: for activations that :class:`Linear` does not have.
    """

    norm: Norm
    expand: Layer
    shrink: Layer
    activation: Callable[[Tensor], Tensor] = _ACTIVATIONS["none"]

    def add_to(self, x: Tensor) -> None:
        """Add the MLP's output to (..., C), which must be contiguous."""
        tokens = x.view(-1, x.shape[-1])
        for chunk in tokens.tensor_split(max(1, len(tokens) // tokens_per_step(x))):
            chunk += self.shrink(self.activation(self.expand(self.norm(chunk))))


def tokens_per_step(x: Tensor) -> int:
    """Return how many of the tokens in (..., C) are computed at a time: on GPUs, all of them."""
    return TOKENS_PER_STEP if x.device.type == "cpu" else max(1, x[..., 0].numel())


def fast_linear(
    weight: Tensor, bias: Tensor | None, target: ComputeTarget, activation: str = "none"
) -> Layer:
    """Return a layer on a target; oneDNN computes it where that is allowed, correct and faster.

    :param weight: (out, in), as torch's ``Linear`` has it.
    :param bias: (out,).
    :param activation: see :class:`Linear`.
    """
    plain = Linear(target.move(weight), None if bias is None else target.move(bias), activation)
    return OneDnnLinear.of(plain) if is_onednn_faster(target) else plain


@torch.inference_mode()
def bfloat16_speedup() -> float:
    """Return the speed of a layer in bfloat16 on this CPU over its speed in float32."""
    (tokens, input_width, output_width), runs = _TRIAL, {}
    for dtype in (torch.float32, torch.bfloat16):
        target = ComputeTarget(torch.device("cpu"), dtype)
        layer = fast_linear(noise(output_width, input_width), None, target, "gelu")
        runs[dtype] = partial(layer, target.move(noise(tokens, input_width)))
    seconds = best_seconds(runs, torch.device("cpu"))
    return seconds[torch.float32] / seconds[torch.bfloat16]


def is_close(actual: Tensor, expected: Tensor) -> bool:
    """Whether two results differ by rounding errors only."""
    tolerance = _TOLERANCE[expected.dtype]
    return torch.allclose(actual, expected, rtol=tolerance, atol=tolerance)


def noise(*shape: int) -> Tensor:
    """Return standard normal numbers, always the same, without a use of torch's own generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def onednn_product(left: Tensor, right: Tensor) -> Tensor:
    """Return the (N, M) product of (N, C) and the transpose of (M, C), computed by oneDNN.

    Each must be contiguous in memory, or be the transpose of a contiguous tensor: oneDNN has no
    fast kernel for other layouts.
    """
    return _onednn_linear(left, right, None, "none")


@cache
@torch.inference_mode()
def is_onednn_available(target: ComputeTarget) -> bool:
    """Whether oneDNN may be used on this target, and computes correct products.

    This needs a torch with oneDNN, and a processor with the instructions for the precision.
    """
    if not target.onednn or target.device.type != "cpu" or target.dtype not in _TOLERANCE:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    x = target.move(noise(16, 64))
    try:
        if target.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        return is_close(onednn_product(x, x), x @ x.mT)
    except (AttributeError, RuntimeError) as error:  # torch was built without oneDNN's products
        _LOG.info("oneDNN's products are not used: %s", error)
        return False


@cached_choice
@torch.inference_mode()
def is_onednn_faster(
    target: ComputeTarget, make_layer: Callable[[Linear], Layer] = OneDnnLinear.of
) -> bool:
    """Whether oneDNN's layers are correct and faster on this target.

    One size of layer is tried for all: oneDNN keeps memory for every size that it computes.

    :param make_layer: makes the layer to try.
    """
    if not is_onednn_available(target):
        return False
    tokens, input_width, output_width = _TRIAL
    x = target.move(noise(tokens, input_width))
    # Scaled so that the output is near 1, as the input.
    weight = target.move(noise(output_width, input_width) * input_width**-0.5)
    plain = [Linear(weight, weight[:, 0].contiguous(), activation) for activation in _ACTIVATIONS]
    tried = [make_layer(layer) for layer in plain]
    pairs = zip(tried, plain, strict=True)
    if not all(is_close(layer(x), plain_layer(x)) for layer, plain_layer in pairs):
        _LOG.warning("oneDNN's linear layers are wrong on this machine and are not used")
        return False
    runs = {True: partial(tried[-1], x), False: partial(plain[-1], x)}
    name = f"linear layers of {make_layer.__qualname__} in {target}"
    return fastest(name, runs, target.device)


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return out
