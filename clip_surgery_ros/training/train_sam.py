"""Train the demo's SAM on generated scenes, from scratch, on a CPU.

segment-anything's own classes at a small size, trained from point prompts to masks: one click, or
many positive and negative points as a heatmap gives them. Losses are binary cross-entropy and
Dice on the low-resolution masks, over the three masks and over the single mask, and the squared
error of the predicted IoU (after Kirillov et al. 2023, section A).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor, nn
from tqdm import tqdm

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.sam.backend import SamSpec, build_sam
from clip_surgery_ros.training import checkpoints
from clip_surgery_ros.weights.state_dicts import load_state_dict
from clip_surgery_ros.world.scene_sets import SceneSet
from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle, innermost

SPEC = SamSpec(
    image_size=384,
    patch_size=16,
    encoder_dim=128,
    encoder_depth=6,
    encoder_heads=4,
    global_attn_indexes=(2, 5),
    window_size=8,
    prompt_dim=128,
    decoder_depth=2,
    decoder_heads=4,
    mlp_dim=256,
)
LOW = 4 * SPEC.image_size // SPEC.patch_size
PROMPTS = 4  # prompts per scene, drawn among its objects with repetition
PROMPT_SIZES = (1, 2, 1, 12, 1, 3, 1, 12)
"""Points of a prompt, by turns a batch: SAM would attend to padding."""
AMONG_OTHERS = (2, 3)
"""Sizes of prompts with one click in the object and negative ones on its copies: neighbours that
look alike are told apart by them."""
ASPECTS = (1.0, 4 / 3, 16 / 9)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Options:
    """What one training run does; with the code, all that is needed to run it again."""

    steps: int
    decay: int
    batch: int
    rate: float
    seed: int
    threads: int
    bfloat16: bool


@dataclass(frozen=True)
class Batch:
    """``pixels`` (B, 3, S, S), ``points`` (B * P, K, 2) in input pixels, ``labels`` (B * P, K) of
    1 or 0, ``targets`` (B * P, l, l) share of each low-resolution cell covered.
    """

    pixels: Tensor
    points: Tensor
    labels: Tensor
    targets: Tensor


Item = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class PromptStream(torch.utils.data.Dataset[Item]):
    """Training scenes with random prompts, by index."""

    def __init__(self, options: Options, first: int) -> None:
        self._options, self._first = options, first

    def __len__(self) -> int:
        return self._options.steps * self._options.batch - self._first

    def __getitem__(self, index: int) -> Item:
        cv2.setNumThreads(1)
        # CLIP's training starts at seed 0; half-way up the split the two never meet.
        seed = SPLITS["train"].start + 2**39 + self._first + index
        rng = np.random.default_rng(seed)
        step = (self._first + index) // self._options.batch
        size = PROMPT_SIZES[step % len(PROMPT_SIZES)]
        scene = _scene(seed)
        chosen = rng.integers(len(scene.masks), size=PROMPTS)
        drawn = click_among_others if size in AMONG_OTHERS else random_points
        points, labels = zip(*(drawn(scene, int(k), size, rng) for k in chosen), strict=True)
        targets = np.stack([_low_resolution(scene.masks[k]) for k in chosen])
        return scene.image, np.stack(points), np.stack(labels), targets


def _scene(seed: int) -> Scene:
    """The training scene of a seed; its longer side is SAM's input size.

    A third shows copies of one object: without them, a click on one of two neighbours that look
    alike gives both. A third shows many small ones.
    """
    aspect = ASPECTS[seed % len(ASPECTS)]
    size_hw = (round(SPEC.image_size / aspect), SPEC.image_size)
    kind = seed // len(ASPECTS) % 3
    if kind == 1:
        return SceneSet(SceneStyle(size_hw, scale=(0.2, 0.5)), 0, copies=(2, 5)).scene(seed)
    if kind == 2:
        style = SceneStyle(size_hw, count=(3, 7), scale=(0.15, 0.45), max_hidden=0.5)
        return SceneGenerator(style).scene(seed)
    return SceneGenerator(SceneStyle(size_hw, scale=(0.22, 0.65), max_hidden=0.4)).scene(seed)


def _low_resolution(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(LOW, LOW) share covered, on the padded square."""
    padded = np.zeros((SPEC.image_size, SPEC.image_size), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return cv2.resize(padded, (LOW, LOW), interpolation=cv2.INTER_AREA)


def random_points(
    scene: Scene, index: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One click in the object, or several points on it and off it.

    :returns: (size, 2) x, y and (size,) 1 or 0.
    """
    mask = scene.masks[index].astype(np.uint8)
    positives = 1 if size == 1 else int(rng.integers(1, size + 1))
    inside = mask if rng.random() < 0.5 else cv2.erode(mask, np.ones((5, 5), np.uint8))
    if positives > 3 and rng.random() < 0.5:
        inside = cv2.dilate(mask, np.ones((7, 7), np.uint8))  # a map's edge spills over
    on = _pick(inside if inside.any() else mask, positives, rng)
    others = np.any(scene.masks, axis=0) & (mask == 0)
    # A click that is not meant, as a rule, is on another object.
    elsewhere = others.astype(np.uint8) if others.any() and rng.random() < 0.5 else 1 - mask
    off = _pick(elsewhere, size - positives, rng)
    return np.concatenate([on, off]), np.repeat(
        np.array([1, 0], np.float32), [positives, size - positives]
    )


def click_among_others(
    scene: Scene, index: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One click in the object and the rest, negative, on others: its copies where it has some.

    Parameters and result are those of :func:`random_points`.
    """
    others = [place for place in range(len(scene.masks)) if place != index]
    copies = [place for place in others if scene.objects[place] == scene.objects[index]]
    inner = [_inner(scene.masks[place]) for place in copies or others]
    elsewhere = np.any(inner, axis=0) if inner else ~scene.masks[index]
    on = _pick(_inner(scene.masks[index]), 1, rng)
    off = _pick(elsewhere, size - 1, rng)
    return np.concatenate([on, off]), np.array([1] + [0] * (size - 1), np.float32)


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Half of the mask's pixels, those farthest from its edge: where maps have their peaks."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(depth >= np.median(depth[mask]))


def _pick(where: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, 2) x, y of random pixels where the mask is set."""
    rows, columns = np.nonzero(where)
    picks = rng.integers(len(rows), size=count)
    return np.stack([columns[picks], rows[picks]], axis=1).astype(np.float32)


def collate(items: list[Item]) -> Batch:
    """Scenes to tensors, padded to the square after normalisation as SAM does."""
    pixels = torch.zeros(len(items), 3, SPEC.image_size, SPEC.image_size)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    for row, (image, _, _, _) in enumerate(items):
        chw = torch.from_numpy(image).permute(2, 0, 1).float()
        pixels[row, :, : chw.shape[1], : chw.shape[2]] = (chw - mean) / std
    points, labels, targets = (
        torch.from_numpy(np.concatenate([item[k] for item in items])) for k in (1, 2, 3)
    )
    return Batch(pixels, points, labels, targets)


def all_masks(sam: Sam, pixels: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """All four masks of every prompt, P prompts for each image in turn.

    segment-anything decodes one image at a time; handing the image features over in the place of
    the dense prompt (they are added anyway) decodes the whole batch in one call.

    :returns: (B * P, 4, l, l) logits and (B * P, 4) predicted IoU.
    """
    features = sam.image_encoder(pixels)
    sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    dense = dense + features.repeat_interleave(len(points) // len(pixels), dim=0)
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(features[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )


def losses(logits: Tensor, predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mask and IoU losses of the module's docstring, and the mean IoU reached."""
    wanted = targets.unsqueeze(1).expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((2, 3))
    share = logits.sigmoid()
    overlap = (share * wanted).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (share.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    each = 5 * entropy + dice  # (B * P, 4)
    # Scenes have no parts to be meant instead of the whole, so all three candidates learn, and the
    # best of them a little more: with the best alone, two of three stay fragments.
    three = 0.5 * each[:, 1:].min(dim=1).values + 0.5 * each[:, 1:].mean(dim=1)
    mask = (each[:, 0] + three).mean()
    with torch.no_grad():
        hard, true = logits > 0, wanted > 0.5
        iou = (hard & true).sum((2, 3)) / (hard | true).sum((2, 3)).clamp(min=1)
    chosen = iou[:, 1:].gather(1, predicted[:, 1:].argmax(dim=1, keepdim=True))
    return {"mask": mask, "iou_error": F.mse_loss(predicted, iou), "iou": chosen.mean()}


def rate_at(step: int, options: Options, first: int = 0, warmup: int = 100) -> float:
    """Share of the peak rate: linear warm-up from ``first``, constant, linear decay to 0."""
    left = options.steps - step
    return min(1.0, (step - first + 1) / warmup, left / options.decay if options.decay else 1.0)


def optimizers(sam: Sam, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the transformers' matrices, AdamW for the rest (Jordan et al. 2024)."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in sam.named_parameters():
        inner = ".blocks." in name or ".transformer." in name
        muon = inner and parameter.ndim == 2 and "rel_pos" not in name
        (matrices if muon else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(options: Options, out: Path, resume: Path | None, validate_every: int) -> None:
    """Run the steps that are left, saving a checkpoint at every validation.

    :param resume: checkpoint to go on from, or an exported file, which has no optimisers' state:
        the rate warms up anew.
    """
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    sam = build_sam(SPEC).train()
    optims = optimizers(sam, options.rate)
    state = _state(resume)
    if resume:
        checkpoints.resume(sam, state, resume)
    for optim, saved in zip(optims, state["optims"], strict=False):
        optim.load_state_dict(saved)
    warm_from = 0 if state["optims"] else state["step"]
    forward = torch.compile(all_masks, dynamic=False)
    began = time.monotonic() - state["seconds"]
    loader = torch.utils.data.DataLoader(
        PromptStream(options, state["step"] * options.batch),
        batch_size=options.batch,
        num_workers=1,
        prefetch_factor=4,
        collate_fn=collate,
        drop_last=True,
    )
    progress = tqdm(loader, initial=state["step"], total=options.steps)
    for step, batch in enumerate(progress, start=state["step"]):
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = options.rate * rate_at(step, options, warm_from)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            logits, predicted = forward(sam, batch.pixels, batch.points, batch.labels)
        parts = losses(logits.float(), predicted.float(), batch.targets)
        for optim in optims:
            optim.zero_grad()
        (parts["mask"] + parts["iou_error"]).backward()
        nn.utils.clip_grad_norm_(sam.parameters(), 2.0)
        for optim in optims:
            optim.step()
        progress.set_postfix({name: f"{value.item():.3f}" for name, value in parts.items()})
        if (step + 1) % validate_every == 0 or step + 1 == options.steps:
            seconds = time.monotonic() - began
            log = {"step": step + 1, "seconds": round(seconds), "one_click_iou": validate(sam)}
            tqdm.write(json.dumps(log))
            checkpoints.save(
                {
                    "step": step + 1,
                    "seconds": seconds,
                    "model": sam.state_dict(),
                    "optims": [optim.state_dict() for optim in optims],
                },
                out,
            )


def _state(resume: Path | None) -> dict[str, Any]:
    """Where a run begins: ``step``, ``seconds``, ``model``, ``optims``."""
    if resume is None:
        return {"step": 0, "seconds": 0.0, "optims": []}
    if resume.suffix != ".safetensors":
        return checkpoints.load(resume, ("step", "seconds", "model", "optims"))
    tensors, metadata = load_state_dict(resume)
    if not metadata.get("step", "").isdigit():
        raise WeightsError(f"{resume} does not tell its step, as files of `train-demo export` do")
    model = {name: at_size(name, values.float()) for name, values in tensors.items()}
    return {"step": int(metadata["step"]), "seconds": 0.0, "model": model, "optims": []}


def at_size(name: str, values: Tensor) -> Tensor:
    """A tensor of a SAM trained at another image size, for this one: positions interpolated."""
    grid = SPEC.image_size // SPEC.patch_size
    if name == "image_encoder.pos_embed":
        chw = values.permute(0, 3, 1, 2)
        sized = F.interpolate(chw, (grid, grid), mode="bicubic", align_corners=False)
        return sized.permute(0, 2, 3, 1)
    everywhere = (f"image_encoder.blocks.{index}.attn" for index in SPEC.global_attn_indexes)
    if "rel_pos" in name and name.startswith(tuple(everywhere)):
        offsets = 2 * grid - 1
        return F.interpolate(values.T[None], offsets, mode="linear", align_corners=False)[0].T
    return values


@torch.no_grad()
def validate(sam: Sam, count: int = 60) -> float:
    """Mean IoU of the mask SAM itself prefers, from one click at each object's inside."""
    ious = []
    size_hw = (SPEC.image_size * 3 // 4, SPEC.image_size)
    for scene in SceneGenerator(SceneStyle(size_hw=size_hw)).scenes("development", count):
        for mask in scene.masks:
            x, y = innermost(mask)
            item = (
                scene.image,
                np.array([[[x, y]]], np.float32),
                np.ones((1, 1), np.float32),
                _low_resolution(mask)[None],
            )
            batch = collate([item])
            logits, predicted = all_masks(sam, batch.pixels, batch.points, batch.labels)
            best = logits[:, 1:][0, predicted[0, 1:].argmax()][None, None]
            size = (SPEC.image_size, SPEC.image_size)
            large = F.interpolate(best, size, mode="bilinear", align_corners=False)[0, 0]
            found = (large > 0).numpy()[: mask.shape[0], : mask.shape[1]]
            ious.append((found & mask).sum() / (found | mask).sum())
    return round(float(np.mean(ious)), 4)
