"""Training checkpoints to the weight files that the package ships (``demo/weights``).

Float16 safetensors: half the size, and what is lost is far below what training leaves open (the
figures of the card are measured on the shipped files). The vocabulary table is written out whole,
with zeros for every token that no caption of the demo uses.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from clip_surgery_ros.demo.sprites import NAMES
from clip_surgery_ros.demo.train_clip import HEAD_WIDTH, VOCABULARY, Vocabulary
from clip_surgery_ros.demo.train_sam import SPEC


def export_clip(checkpoint: Path, out: Path) -> None:
    """Write the CLIP in OpenAI's state-dict layout, with what training learnt about levels.

    Metadata: ``head_width``; ``presence_scale`` and ``presence_offset`` (presence is
    ``sigmoid(scale * (cosine - offset))``); ``background`` (raw similarity of a token that lies on
    nothing); ``labels`` (JSON list of the names known).
    """
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    model, heads = dict(saved["model"]), saved["heads"]
    vocabulary = Vocabulary()
    table = torch.zeros(VOCABULARY, model["token_embedding.weight"].shape[1])
    table[vocabulary.ids] = model["token_embedding.weight"][1:]
    model["token_embedding.weight"] = table
    model.pop("attn_mask", None)
    metadata = {
        "head_width": str(HEAD_WIDTH),
        "presence_scale": f"{math.exp(heads['presence_scale']):.4f}",
        "presence_offset": f"{heads['presence_offset']:.4f}",
        "background": f"{heads['background']:.4f}",
        "labels": json.dumps(NAMES),
    }
    save_file({k: v.half().contiguous() for k, v in model.items()}, out, metadata)


def export_sam(checkpoint: Path, out: Path) -> None:
    """Write the SAM with its sizes as JSON in the metadata key ``sam_spec``."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    state = {k: v.half().contiguous() for k, v in saved["model"].items()}
    save_file(state, out, {"sam_spec": json.dumps(asdict(SPEC))})
