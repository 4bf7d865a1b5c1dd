"""Train the demo's CLIP on generated scenes, from scratch, on a CPU.

Objectives, all through one image tower and one text tower:

1. the CLIP paper's symmetric contrastive loss between scenes and captions;
2. presence: a sigmoid cross-entropy between the CLS token and every object's name;
3. tokens: a cross-entropy between each surgery token and the name of the object it lies on, with
   a learned level for the background. It uses the scenes' masks.

The result is a plain CLIP in OpenAI's state-dict layout; nothing of 2 and 3 is needed to use it.
The schedule is warm-up, constant, linear decay, in steps, so that it can be run in pieces.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from tqdm import tqdm

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.training import checkpoints
from clip_surgery_ros.world.scenes import (
    NAMES,
    SPLITS,
    Scene,
    SceneGenerator,
    SceneStyle,
    article,
    caption,
    squashed,
)

IMAGE_SIZE = 96
PATCH = 8
WIDTH = 160
LAYERS = 6
HEAD_WIDTH = 32
EMBED = 128
TEXT_WIDTH = 128
TEXT_LAYERS = 2
CONTEXT = 40
VOCABULARY = 49408
UNKNOWN_TEXTS = 8  # texts of words outside the vocabulary, always absent, in every step
ASPECTS = (1.0, 4 / 3, 16 / 9)
MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD


@dataclass(frozen=True)
class Options:
    """What one training run does; with the code, all that is needed to run it again."""

    steps: int
    decay: int
    small_steps: int
    batch: int
    rate: float
    seed: int
    threads: int


class Vocabulary:
    """The tokens that captions and names use, renumbered from 1; 0 is every other token."""

    def __init__(self) -> None:
        self._tokenize = open_clip.SimpleTokenizer(context_length=CONTEXT)
        texts = [template.format(name) for name in NAMES for template in TEMPLATES]
        texts += [caption(NAMES[:3]), caption(NAMES[:2]), "a photo of an apple"]
        used = torch.unique(self._tokenize(texts))
        self.ids = used[used != 0]
        self._rows = torch.zeros(VOCABULARY, dtype=torch.long)
        self._rows[self.ids] = torch.arange(1, len(self.ids) + 1)

    def __len__(self) -> int:
        return len(self.ids) + 1

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(T, L) rows, as short as the texts allow, and (T,) the place of each end token."""
        full = self._tokenize(list(texts))
        end = full.argmax(dim=1)
        return self._rows[full[:, : int(end.max()) + 1]], end

    def unknown(self, rng: np.random.Generator, count: int) -> list[str]:
        """Texts of words that no name uses: one to three random tokens in a template."""
        known = set(self.ids.tolist())
        pool = [t for t in rng.integers(1000, 40000, 6 * count).tolist() if t not in known]
        decoder = self._tokenize.decoder
        words = [decoder[t].replace("</w>", "").replace("{", "").replace("}", "") for t in pool]
        return [" ".join(words[i * 2 : i * 2 + int(rng.integers(1, 3))]) for i in range(count)]


def build(vocabulary_size: int) -> CLIP:
    """An untrained CLIP of the demo's size."""
    return CLIP(
        EMBED,
        CLIPVisionCfg(
            layers=LAYERS,
            width=WIDTH,
            head_width=HEAD_WIDTH,
            patch_size=PATCH,
            image_size=IMAGE_SIZE,
        ),
        CLIPTextCfg(
            context_length=CONTEXT,
            vocab_size=vocabulary_size,
            width=TEXT_WIDTH,
            heads=TEXT_WIDTH // HEAD_WIDTH,
            layers=TEXT_LAYERS,
        ),
        quick_gelu=True,
    )


def image_paths(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """CLS of the plain path, and patch tokens of the surgery path, both projected.

    The same arithmetic as ``networks.clip.surgery`` (a test holds them together), written for
    training:
    the whole batch, with gradients, at the trained grid or a smaller square one.

    :returns: (B, C) and (B, N, C), before L2 normalisation.
    """
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1)
    x = visual.ln_pre(x + _positions(visual.positional_embedding, x.shape[1]))
    surgery = x
    for block in visual.transformer.resblocks:
        attention = block.attn
        batch, tokens, _ = x.shape
        qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        qkv = qkv.view(batch, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv  # (B, heads, N, d)

        def attend(
            q: Tensor, k: Tensor, v: Tensor = value, out: nn.Module = attention.out_proj
        ) -> Tensor:
            mixed = F.scaled_dot_product_attention(q, k, v)
            return out(mixed.transpose(1, 2).flatten(2))

        surgery = surgery + attend(value, value)
        x = x + attend(query, key)
        x = x + block.mlp(block.ln_2(x))
    cls = visual.ln_post(x[:, 0]) @ visual.proj
    return cls, visual.ln_post(surgery[:, 1:]) @ visual.proj


def _positions(table: Tensor, tokens: int) -> Tensor:
    """The (1 + N, C) position table, resized when the grid is a smaller square."""
    if len(table) == tokens:
        return table
    side, new = round(math.sqrt(len(table) - 1)), round(math.sqrt(tokens - 1))
    grid = table[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (new, new), mode="bilinear", align_corners=False)
    return torch.cat([table[:1], grid.flatten(2)[0].T])


def text_features(model: CLIP, rows: Tensor, end: Tensor) -> Tensor:
    """(T, C) unit rows."""
    table = model.token_embedding.weight
    known = (rows > 0).unsqueeze(-1)  # row 0, every unknown word, stays zero
    x = F.embedding(rows, table) * known + model.positional_embedding[: rows.shape[1]]
    x = model.transformer(x, attn_mask=model.attn_mask[: rows.shape[1], : rows.shape[1]])
    x = model.ln_final(x)[torch.arange(len(x)), end] @ model.text_projection
    return F.normalize(x, dim=-1)


class Heads(nn.Module):
    """Scales and levels of the presence and token objectives; not part of the CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.presence_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self.presence_offset = nn.Parameter(torch.tensor(0.3))
        self.token_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self.background = nn.Parameter(torch.tensor(0.3))


@dataclass(frozen=True)
class Batch:
    """Scenes as the losses need them.

    ``pixels`` (B, 3, S, S) normalised, ``present`` (B, K) 0 or 1, ``targets`` (B, N) index of the
    object under a token, K for background, -100 where it is neither.
    """

    pixels: Tensor
    present: Tensor
    targets: Tensor
    captions: tuple[str, ...]


class SceneStream(
    torch.utils.data.Dataset[tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, ...]]]
):
    """Training scenes by index; the curriculum's first ones are few, large and small-sided."""

    def __init__(self, options: Options, first: int) -> None:
        self._options, self._first = options, first

    def __len__(self) -> int:
        return self._options.steps * self._options.batch - self._first

    def __getitem__(
        self, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, ...]]:
        cv2.setNumThreads(1)
        seed = self._first + index
        step = seed // self._options.batch
        scene = SceneGenerator(style_at(step, self._options, seed)).scene(
            SPLITS["train"].start + seed
        )
        return scene.image, token_targets(scene, PATCH), scene.objects


def style_at(step: int, options: Options, seed: int) -> SceneStyle:
    """Curriculum: the same object sizes in pixels all along, first in smaller pictures."""
    aspect = ASPECTS[seed % len(ASPECTS)]
    if step < options.small_steps:
        return squashed(SceneStyle(count=(1, 2), scale=(0.48, 0.9)), 64, aspect)
    return squashed(SceneStyle(scale=(0.28, 0.65)), IMAGE_SIZE, aspect)


def token_targets(scene: Scene, patch: int) -> NDArray[np.int64]:
    """(N,) object index under each token (at least half covered), K for none, -100 between."""
    count, height, width = scene.masks.shape
    grid = (height // patch, width // patch)
    share = scene.masks.reshape(count, grid[0], patch, grid[1], patch).mean(axis=(2, 4))
    share = share.reshape(count, -1)
    targets = np.full(share.shape[1], -100, np.int64)
    targets[share.sum(axis=0) < 0.05] = len(NAMES)
    best = share.argmax(axis=0)
    solid = share.max(axis=0) >= 0.5
    targets[solid] = np.asarray(scene.objects)[best[solid]]
    return targets


def collate(items: list[tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, ...]]]) -> Batch:
    """Scenes to tensors; captions name the objects in random order."""
    images = torch.from_numpy(np.stack([image for image, _, _ in items]))
    present = torch.zeros(len(items), len(NAMES))
    for row, (_, _, objects) in enumerate(items):
        present[row, list(objects)] = 1
    captions = tuple(
        caption([NAMES[i] for i in np.random.default_rng(int(image.sum())).permutation(objects)])
        for image, _, objects in items
    )
    return Batch(
        normalised(images), present, torch.from_numpy(np.stack([t for _, t, _ in items])), captions
    )


def normalised(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) with OpenAI's mean and deviation."""
    scaled = images.permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def named(rng: np.random.Generator) -> list[str]:
    """Every object's name in a random template of the ensemble, or as captions write it."""
    texts = []
    for name in NAMES:
        kind = rng.integers(4)
        plain = f"a photo of {article(name)} {name}"
        texts.append(plain if kind == 0 else TEMPLATES[rng.integers(len(TEMPLATES))].format(name))
    return texts


def losses(
    model: CLIP,
    heads: Heads,
    batch: Batch,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    paths: Any,
) -> dict[str, Tensor]:
    """The three objectives of the module's docstring."""
    cls, tokens = paths(model.visual, batch.pixels)
    cls, tokens = F.normalize(cls, dim=-1), F.normalize(tokens, dim=-1)
    captions = text_features(model, *vocabulary.tokens(batch.captions))
    texts = named(rng) + [f"a photo of a {t}" for t in vocabulary.unknown(rng, UNKNOWN_TEXTS)]
    names = text_features(model, *vocabulary.tokens(texts))  # (K + U, C)

    logits = model.logit_scale.exp().clamp(max=100) * cls @ captions.T
    match = torch.arange(len(cls))
    contrastive = (F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)) / 2

    score = heads.presence_scale.exp() * (cls @ names.T - heads.presence_offset)
    present = F.pad(batch.present, (0, UNKNOWN_TEXTS))
    presence = F.binary_cross_entropy_with_logits(score, present, reduction="sum") / len(cls)

    similarity = tokens @ names.T  # (B, N, K + U)
    level = heads.background.expand(*similarity.shape[:2], 1)
    count = len(NAMES)
    similarity = torch.cat([similarity[..., :count], level, similarity[..., count:]], dim=-1)
    token = F.cross_entropy(
        (heads.token_scale.exp() * similarity).flatten(0, 1),
        batch.targets.flatten(),
        label_smoothing=0.02,
    )
    return {"contrastive": contrastive, "presence": presence, "token": token}


def rate_at(step: int, options: Options, warmup: int = 100) -> float:
    """Share of the peak rate: linear warm-up, constant, linear decay to 0."""
    left = options.steps - step
    return min(1.0, (step + 1) / warmup, left / options.decay if options.decay else 1.0)


def optimizers(model: CLIP, heads: Heads, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest (Jordan et al. 2024)."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if "resblocks" in name and parameter.ndim == 2 else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [*rest, *heads.parameters()], lr=rate, betas=(0.9, 0.98), weight_decay=0.0
        ),
    ]


def train(options: Options, out: Path, resume: Path | None, validate_every: int) -> None:
    """Run the steps that are left, saving a checkpoint at every validation."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    vocabulary = Vocabulary()
    model, heads = build(len(vocabulary)), Heads()
    optims = optimizers(model, heads, options.rate)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    if resume:
        state = checkpoints.load(resume, ("step", "seconds", "model", "heads", "optims"))
        checkpoints.resume(model, state, resume)
        heads.load_state_dict(state["heads"])
        for optim, saved in zip(optims, state["optims"], strict=True):
            optim.load_state_dict(saved)
    paths = torch.compile(image_paths, dynamic=False)
    began = time.monotonic() - state["seconds"]
    progress = tqdm(_batches(options, state["step"]), initial=state["step"], total=options.steps)
    for step, batch in enumerate(progress, start=state["step"]):
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = options.rate * rate_at(step, options)
        parts = losses(
            model, heads, batch, vocabulary, np.random.default_rng([options.seed, step]), paths
        )
        loss = parts["contrastive"] + parts["presence"] + 2 * parts["token"]
        for optim in optims:
            optim.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        for optim in optims:
            optim.step()
        progress.set_postfix({name: f"{value.item():.3f}" for name, value in parts.items()})
        if (step + 1) % validate_every == 0 or step + 1 == options.steps:
            metrics = validate(model, heads, vocabulary)
            seconds = time.monotonic() - began
            log = {
                "step": step + 1,
                "seconds": round(seconds),
                **{k: round(v.item(), 3) for k, v in parts.items()},
                **metrics,
            }
            tqdm.write(json.dumps(log))
            checkpoints.save(
                {
                    "step": step + 1,
                    "seconds": seconds,
                    "model": model.state_dict(),
                    "heads": heads.state_dict(),
                    "optims": [optim.state_dict() for optim in optims],
                },
                out,
            )


def _batches(options: Options, first_step: int) -> Iterator[Batch]:
    stream = SceneStream(options, first_step * options.batch)
    return iter(
        torch.utils.data.DataLoader(
            stream,
            batch_size=options.batch,
            num_workers=1,
            prefetch_factor=4,
            collate_fn=collate,
            drop_last=True,
        )
    )


@torch.no_grad()
def validate(
    model: CLIP, heads: Heads, vocabulary: Vocabulary, count: int = 200
) -> dict[str, float]:
    """Quick look on development scenes: pointing of both paths, presence AUROC."""
    texts = text_features(
        model, *vocabulary.tokens([f"a photo of {article(n)} {n}" for n in NAMES])
    )
    generator = SceneGenerator(squashed(SceneStyle(), IMAGE_SIZE, 4 / 3))
    hits, total, scores, truths = 0, 0, [], []
    for scene in generator.scenes("development", count):
        cls, tokens = image_paths(model.visual, normalised(torch.from_numpy(scene.image)[None]))
        side = IMAGE_SIZE // PATCH
        maps = (F.normalize(tokens, dim=-1)[0] @ texts.T).T.reshape(1, -1, side, side)
        maps = maps - maps.mean(dim=1, keepdim=True)
        large = F.interpolate(maps, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[0].flatten(1)
        for index, mask in zip(scene.objects, scene.masks, strict=True):
            hits += int(mask.reshape(-1)[int(large[index].argmax())])
            total += 1
        scores.append((F.normalize(cls, dim=-1) @ texts.T)[0])
        truths.append(torch.zeros(len(NAMES)).index_fill(0, torch.tensor(scene.objects), 1.0))
    return {
        "pointing": round(hits / total, 4),
        "auroc": round(_auroc(torch.stack(scores), torch.stack(truths)), 4),
    }


def _auroc(scores: Tensor, truths: Tensor) -> float:
    """Chance that a present label scores above an absent one (ties are unlikely here)."""
    order = scores.flatten().argsort()
    ranks = torch.empty_like(order, dtype=torch.float64)
    ranks[order] = torch.arange(1, len(order) + 1, dtype=torch.float64)
    positive = truths.flatten() > 0
    p, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))
