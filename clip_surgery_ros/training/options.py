"""Options of the training runs: with the code, all that is needed to repeat one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What a training runs on; it changes the result by rounding alone.

    :param device: torch's name of it, such as ``cpu`` or ``cuda:0``.
    :param threads: of torch, on the CPU.
    :param workers: processes that make batches.
    """

    device: str
    threads: int
    workers: int


@dataclass(frozen=True)
class ClipOptions:
    """Options of a training run of the CLIP.

    :param steps: last step.
    :param decay: number of steps at the end in which the learning rate decays to 0.
    :param small_steps: number of steps at the start whose windows are close to one object.
    :param batch: windows per step.
    :param rate: peak learning rate.
    :param bfloat16: compute matrix products of the image tower in bfloat16.
    :param side: of the windows, pixels; a multiple of the patch.
    :param kept_tokens: patch tokens of a window that are computed, those of objects first; 0
        computes all.
    :param contrastive_only: train with the CLIP paper's loss alone, which uses no masks.
    :param image_tower: weights of a CLIP of the same sizes, whose image tower a run from step 0
        begins with; None begins with random numbers.
    """

    steps: int
    decay: int
    small_steps: int
    batch: int
    rate: float
    seed: int
    bfloat16: bool
    side: int
    kept_tokens: int
    contrastive_only: bool
    image_tower: Path | None


@dataclass(frozen=True)
class SamOptions:
    """Options of a training run of the SAM.

    :param steps: last step.
    :param decay: number of steps at the end in which the learning rate decays to 0.
    :param batch: pictures per step.
    :param rate: peak learning rate.
    :param bfloat16: compute matrix products in bfloat16.
    :param nested: whether its three masks are a part, the object, and the object with what is
        around it, as Meta's often are; else all three are the object.
    """

    steps: int
    decay: int
    batch: int
    rate: float
    seed: int
    bfloat16: bool
    nested: bool


@dataclass(frozen=True)
class RunFiles:
    """What a training run reads and writes.

    :param views: folder of :mod:`world_views`.
    :param scenes: of the training split, all rendered.
    :param checkpoint: to write.
    :param resume: checkpoint to continue from, or an exported file. An exported file has no state
        of the optimizers: the learning rate warms up again.
    :param validate_every: steps between validations, at which the checkpoint is written.
    """

    views: Path
    scenes: int
    checkpoint: Path
    resume: Path | None
    validate_every: int

    def is_due(self, step: int, last: int) -> bool:
        """Return whether the network is measured and saved after this many steps."""
        return step % self.validate_every == 0 or step == last
