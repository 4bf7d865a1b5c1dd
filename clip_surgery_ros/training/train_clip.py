"""Train the demo's CLIP on generated scenes, from scratch, on a CPU.

``clip_losses.py`` has the three objectives. The result is a plain CLIP in OpenAI's state-dict
layout; nothing but the CLIP is needed to use it. The learning rate depends on the step alone, so
that a training can be interrupted and resumed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn
from tqdm import tqdm

from clip_surgery_ros.evaluation.metrics import auroc
from clip_surgery_ros.training import checkpoints
from clip_surgery_ros.training.clip_data import batches, normalize
from clip_surgery_ros.training.clip_losses import losses
from clip_surgery_ros.training.clip_model import (
    IMAGE_SIZE,
    PATCH,
    ObjectiveHeads,
    Vocabulary,
    build_clip,
    encode_images,
    encode_texts,
)
from clip_surgery_ros.training.optimization import (
    Optimizers,
    build_optimizers,
    rate_at,
    set_rate,
    update,
)
from clip_surgery_ros.training.options import ClipOptions
from clip_surgery_ros.world.scenes import SceneGenerator, SceneStyle, article, squashed
from clip_surgery_ros.world.sprites import NAMES

TOKEN_WEIGHT = 2
"""Weight of the token loss beside the other two."""
MAX_GRADIENT_NORM = 5.0


def train(options: ClipOptions, out: Path, resume: Path | None, validate_every: int) -> None:
    """Do the remaining steps and save a checkpoint at every validation.

    :param out: checkpoint to write.
    :param resume: checkpoint to continue from.
    """
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    vocabulary = Vocabulary()
    model, heads = build_clip(len(vocabulary)), ObjectiveHeads()
    optimizers = clip_optimizers(model, heads, options.rate)
    first, seconds = _restore(resume, model, heads, optimizers) if resume else (0, 0.0)
    compiled = torch.compile(encode_images, dynamic=False)
    began = time.monotonic() - seconds
    progress = tqdm(batches(options, first), initial=first, total=options.steps)
    for step, batch in enumerate(progress, start=first):
        set_rate(optimizers, options.rate * rate_at(step, options))
        rng = np.random.default_rng([options.seed, step])
        parts = losses(model, heads, batch, vocabulary, rng, compiled)
        loss = parts["contrastive"] + parts["presence"] + TOKEN_WEIGHT * parts["token"]
        update(optimizers, loss, model, MAX_GRADIENT_NORM)
        progress.set_postfix({name: f"{value.item():.3f}" for name, value in parts.items()})
        if (step + 1) % validate_every == 0 or step + 1 == options.steps:
            metrics = validate(model, vocabulary)
            seconds = time.monotonic() - began
            log = {
                "step": step + 1,
                "seconds": round(seconds),
                **{name: round(value.item(), 3) for name, value in parts.items()},
                **metrics,
            }
            tqdm.write(json.dumps(log))
            state = {
                "step": step + 1,
                "seconds": seconds,
                "model": model.state_dict(),
                "heads": heads.state_dict(),
                "optims": [optimizer.state_dict() for optimizer in optimizers],
            }
            checkpoints.save(state, out)


def _restore(
    path: Path, model: CLIP, heads: ObjectiveHeads, optimizers: Optimizers
) -> tuple[int, float]:
    """Load a checkpoint; return its step and the seconds that the training took so far."""
    state: dict[str, Any] = checkpoints.load(path, ("step", "seconds", "model", "heads", "optims"))
    checkpoints.restore(model, state, path)
    heads.load_state_dict(state["heads"])
    for optimizer, saved in zip(optimizers, state["optims"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seconds"]


def clip_optimizers(model: CLIP, heads: ObjectiveHeads, rate: float) -> Optimizers:
    """Build the optimizers; the matrices of the transformer blocks have one of their own."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = "resblocks" in name and parameter.ndim == 2
        (matrices if is_matrix else others).append(parameter)
    return build_optimizers(matrices, [*others, *heads.parameters()], rate, weight_decay=0.05)


@torch.no_grad()
def validate(model: CLIP, vocabulary: Vocabulary, count: int = 200) -> dict[str, float]:
    """Measure pointing accuracy and the AUROC of presence on development scenes.

    :param count: number of scenes.
    """
    texts = encode_texts(
        model, *vocabulary.tokens([f"a photo of {article(name)} {name}" for name in NAMES])
    )
    generator = SceneGenerator(squashed(SceneStyle(), IMAGE_SIZE, 4 / 3))
    is_inside: list[bool] = []
    present: list[Tensor] = []
    absent: list[Tensor] = []
    for scene in generator.scenes("development", count):
        cls, tokens = encode_images(model.visual, normalize(torch.from_numpy(scene.image)[None]))
        side = IMAGE_SIZE // PATCH
        maps = (F.normalize(tokens, dim=-1)[0] @ texts.T).T.reshape(1, -1, side, side)
        maps = maps - maps.mean(dim=1, keepdim=True)
        full_size = F.interpolate(maps, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[0].flatten(1)
        for index, mask in zip(scene.objects, scene.masks, strict=True):
            is_inside.append(bool(mask.reshape(-1)[int(full_size[index].argmax())]))
        cosines = (F.normalize(cls, dim=-1) @ texts.T)[0]
        is_present = torch.zeros(len(NAMES), dtype=torch.bool)
        is_present[list(scene.objects)] = True
        present.append(cosines[is_present])
        absent.append(cosines[~is_present])
    return {
        "pointing": round(float(np.mean(is_inside)), 4),
        "auroc": round(auroc(torch.cat(present).tolist(), torch.cat(absent).tolist()), 4),
    }
