"""Optimizers, learning rate and update step that both trainings use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clip_surgery_ros.training.options import ClipOptions, SamOptions

Optimizers = Sequence[torch.optim.Optimizer]

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic Newton-Schulz iteration (Jordan et al. 2024)."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for matrices; updates have the size of AdamW's (Jordan et al.
    2024; Liu et al. 2025).

    It does what torch.optim.Muon does with ``adjust_lr_fn="match_rms_adamw"``, but in float32.
    torch's multiplies in bfloat16, which takes 60 times as long on a CPU without instructions for
    it: longer than the rest of a step.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, matrix.grad, group)

    def _update(self, matrix: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalized(gradient.lerp(momentum, MOMENTUM))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(direction, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return an (M, N) matrix with its singular values moved to about 1 (0.7 to 1.2)."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / wide.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if wide is not matrix else x


def build_optimizers(
    matrices: Iterable[nn.Parameter],
    others: Iterable[nn.Parameter],
    rate: float,
    weight_decay: float,
) -> Optimizers:
    """Build Muon for the matrices of transformers and AdamW for the rest (Jordan et al. 2024).

    :param weight_decay: of the matrices.
    """
    return [
        Muon(matrices, rate, weight_decay),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_at(
    step: int, options: ClipOptions | SamOptions, first: int = 0, warmup: int = 100
) -> float:
    """Return the share of the peak rate: linear warm-up, constant, linear decay to 0.

    :param first: step at which the warm-up begins.
    :param warmup: number of its steps.
    """
    left = options.steps - step
    return min(1.0, (step - first + 1) / warmup, left / options.decay if options.decay else 1.0)


def set_rate(optimizers: Optimizers, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def update(optimizers: Optimizers, loss: Tensor, network: nn.Module, max_norm: float) -> None:
    """Do one step of all optimizers.

    :param max_norm: the gradient of the network's parameters is scaled down to this norm.
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    for optimizer in optimizers:
        optimizer.step()
