"""The demo's CLIP as it is trained: its sizes, its vocabulary and its forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.networks.clip.vocabulary_table import VOCABULARY_SIZE
from clip_surgery_ros.world.colours import COLOURS
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.words import COUNT_WORDS, FINISH_WORDS, all_forms

IMAGE_SIZE = 96
PATCH = 8
WIDTH = 160
LAYERS = 6
HEAD_WIDTH = 32
EMBED = 160
TEXT_WIDTH = 128
TEXT_LAYERS = 3
CONTEXT = 77
"""As every CLIP's: a caption of a full scene has sixty tokens."""


class Vocabulary:
    """The tokens that captions and names use, renumbered from 1; 0 is every other token."""

    def __init__(self) -> None:
        self._tokenize = open_clip.SimpleTokenizer(context_length=CONTEXT)
        words = [form for name in NAMES for form in all_forms(name)]
        words += [*COLOURS, *COUNT_WORDS, "and, an", "thing", "things"]
        words += [word for entries in FINISH_WORDS.values() for word in entries]
        used = torch.unique(self._tokenize([*words, *TEMPLATES]))
        self.ids = used[used != 0]
        self._rows = torch.zeros(VOCABULARY_SIZE, dtype=torch.long)
        self._rows[self.ids] = torch.arange(1, len(self.ids) + 1)

    def __len__(self) -> int:
        return len(self.ids) + 1

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return (T, L) rows of the token table, L as short as the texts allow, and (T,) the
        position of each end token.
        """
        full = self._tokenize(list(texts))
        end = full.argmax(dim=1)
        return self._rows[full[:, : int(end.max()) + 1]], end

    def unknown_texts(self, rng: np.random.Generator, count: int) -> list[str]:
        """Make texts of one or two random tokens that no name uses."""
        known = set(self.ids.tolist())
        pool = [t for t in rng.integers(1000, 40000, 6 * count).tolist() if t not in known]
        decoder = self._tokenize.decoder
        words = [decoder[t].replace("</w>", "").replace("{", "").replace("}", "") for t in pool]
        return [" ".join(words[i * 2 : i * 2 + int(rng.integers(1, 3))]) for i in range(count)]


class ObjectiveHeads(nn.Module):
    """Scales and offsets of the presence and token objectives; not part of the CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.presence_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self.presence_offset = nn.Parameter(torch.tensor(0.4))
        self.peak_weight = nn.Parameter(torch.tensor(1.0))
        self.token_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self.background = nn.Parameter(torch.tensor(0.3))


def build_clip(vocabulary_size: int) -> CLIP:
    """Build an untrained CLIP of the demo's size."""
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


def encode_images(
    visual: Any, pixels: Tensor, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the CLS token of the plain path and the patch tokens of the surgery path, projected.

    A test compares this with ``networks.clip.surgery``, which computes the same. This form is for
    training: it processes a whole batch, with gradients, at any square grid.

    :param visual: the image tower of a CLIP.
    :param pixels: (B, 3, S, S), normalized.
    :param kept: (B, K) patch tokens that are computed; None computes all. The blocks then see
        these alone.
    :returns: (B, C) and (B, N or K, C), before L2 normalization.
    """
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    positions = resize_positions(visual.positional_embedding, 1 + x.shape[1])
    x = x + positions[1:]
    if kept is not None:
        x = x.gather(1, kept.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
    begin = (visual.class_embedding + positions[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([begin, x], dim=1))
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
            # Written out: torch's fused kernel takes three times as long backwards on a CPU.
            weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1)
            mixed = weights.to(v.dtype) @ v
            return out(mixed.transpose(1, 2).flatten(2))

        surgery = surgery + attend(value, value)
        x = x + attend(query, key)
        x = x + block.mlp(block.ln_2(x))
    cls = visual.ln_post(x[:, 0]) @ visual.proj
    return cls, visual.ln_post(surgery[:, 1:]) @ visual.proj


def resize_positions(table: Tensor, tokens: int) -> Tensor:
    """Return the (1 + N, C) position table, resized when the grid is another square."""
    if len(table) == tokens:
        return table
    side, new = round(math.sqrt(len(table) - 1)), round(math.sqrt(tokens - 1))
    grid = table[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (new, new), mode="bilinear", align_corners=False)
    return torch.cat([table[:1], grid.flatten(2)[0].T])


def encode_texts(model: CLIP, rows: Tensor, end: Tensor) -> Tensor:
    """Return the (T, C) features of texts, as unit rows.

    :param rows: (T, L) as :meth:`Vocabulary.tokens` returns them.
    :param end: (T,) position of each end token.
    """
    table = model.token_embedding.weight
    rows, end = rows.to(table.device), end.to(table.device)
    known = (rows > 0).unsqueeze(-1)  # the embedding of row 0, every unknown token, stays zero
    x = F.embedding(rows, table) * known + model.positional_embedding[: rows.shape[1]]
    x = model.transformer(x, attn_mask=model.attn_mask[: rows.shape[1], : rows.shape[1]])
    x = model.ln_final(x)[torch.arange(len(x)), end] @ model.text_projection
    return F.normalize(x, dim=-1)
