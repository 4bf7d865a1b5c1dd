"""Training checkpoints to the weight files that the package ships (``demo/weights``).

Float16 safetensors: half the size, and what is lost is far below what training leaves open (the
figures of the card are measured on the shipped files). The vocabulary table is written out whole,
with zeros for every token that no caption of the demo uses.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.text_features import save_text_features
from clip_surgery_ros.networks.sam.backend import build_sam
from clip_surgery_ros.training import checkpoints
from clip_surgery_ros.training.train_clip import HEAD_WIDTH, VOCABULARY, Vocabulary, build
from clip_surgery_ros.training.train_sam import SPEC
from clip_surgery_ros.world.scene_sets import SCENE_SETS
from clip_surgery_ros.world.sprites import NAMES

INPUT_SIZE = 144
"""Side that images are squashed to in use: finer maps than at the trained 96, and better masks on
the development scenes."""
CALIBRATION_SCENES = 100
"""Development scenes of each set; the level's error is then far below its use."""


def export_clip(checkpoint: Path, out: Path) -> None:
    """Write the CLIP in OpenAI's state-dict layout, with its levels.

    Metadata: ``head_width``; ``input_size`` to use by default; ``presence_scale`` and
    ``presence_offset`` of the level that reads the whole image, ``presence_with_tokens`` and
    ``presence_with_windows`` (JSON of those that read its tokens too, without and with windows),
    all fitted on development scenes; ``labels`` (JSON list of the names known).
    """
    saved = checkpoints.load(checkpoint, ("model", "heads"))
    vocabulary = Vocabulary()
    checkpoints.resume(build(len(vocabulary)), saved, checkpoint)
    model = dict(saved["model"])
    table = torch.zeros(VOCABULARY, model["token_embedding.weight"].shape[1])
    table[vocabulary.ids] = model["token_embedding.weight"][1:]
    model["token_embedding.weight"] = table
    tensors = {k: v.half().contiguous() for k, v in model.items()}

    clip = ClipBackend.from_state_dict(tensors, head_width=HEAD_WIDTH, input_size=INPUT_SIZE)
    metadata = {
        "head_width": str(HEAD_WIDTH),
        "input_size": str(INPUT_SIZE),
        **presence_levels(clip, CALIBRATION_SCENES),
        "labels": json.dumps(NAMES),
    }
    save_file(tensors, out, metadata)
    out.chmod(0o644)  # safetensors writes for its owner only; an installed package is for all


def presence_levels(clip: ClipBackend, count: int) -> dict[str, str]:
    """All levels as metadata; parameters are those of :func:`presence_cosines`."""
    present, absent = presence_cosines(clip, count, windows=False)
    whole, both = fit_presence(present[:, :1], absent[:, :1]), fit_presence(present, absent)
    wide = fit_presence(*presence_cosines(clip, count, windows=True))
    return {
        "presence_scale": str(whole.scale),
        "presence_offset": str(whole.offset),
        "presence_with_tokens": json.dumps(asdict(both)),
        "presence_with_windows": json.dumps(asdict(wide)),
    }


def export_texts(clip_file: Path, out: Path) -> None:
    """Write the features of all names and of the empty text, which every query is compared with.

    Encoding them takes a second or more, which a node would spend on its first frame.
    """
    clip = ClipBackend.from_file(clip_file)
    texts = [*NAMES, ""]
    save_text_features(out, dict(zip(texts, clip.text_features(texts), strict=True)))


def presence_cosines(clip: ClipBackend, count: int, windows: bool) -> tuple[Tensor, Tensor]:
    """Cosines of names with the image and with its best token: (P, 2) of names that are in the
    development scenes, and (A, 2) of those that are not.

    :param count: scenes of each set.
    :param windows: let CLIP look at windows too.
    """
    texts = clip.text_features(NAMES)
    present, absent = [], []
    scenes = [one for each in SCENE_SETS.values() for one in each.scenes("development", count)]
    for scene in tqdm(scenes, unit="scene"):
        tokens, _ = encode_image(clip, clip.surgery_tokens, scene.image, windows)
        cosines = tokens[0] @ texts.T
        both = torch.stack([cosines[0], cosines[1:].amax(dim=0)], dim=1)
        there = torch.zeros(len(NAMES), dtype=torch.bool)
        there[list(scene.objects)] = True
        present.append(both[there])
        absent.append(both[~there])
    return torch.cat(present), torch.cat(absent)


def fit_presence(present: Tensor, absent: Tensor) -> PresenceLevel:
    """Logistic regression of presence on cosines, present and absent weighing the same.

    Training meets fifty absent names for each present one and learns to expect that; who asks for
    something expects it as likely there as not.

    :param present: (P, 1 or 2), columns as :func:`presence_cosines` gives them.
    :param absent: (A, 1 or 2).
    """
    centre = (present.mean(dim=0) + absent.mean(dim=0)) / 2
    weights = torch.full_like(centre, 10.0).requires_grad_()
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        missed = F.softplus(-((present - centre) @ weights + bias)).mean()
        alarmed = F.softplus((absent - centre) @ weights + bias).mean()
        total = missed + alarmed
        total.backward()
        return total

    optimizer.step(loss)
    fitted = weights.detach()
    whole = float(fitted[0])
    offset = (float(centre @ fitted) - bias.item()) / whole
    return PresenceLevel(whole, offset, float(fitted[1:].sum()) / whole)


def export_sam(checkpoint: Path, out: Path) -> None:
    """Write the SAM. Metadata: its sizes as JSON in ``sam_spec``, and the ``step`` reached."""
    saved = checkpoints.load(checkpoint, ("model", "step"))
    checkpoints.resume(build_sam(SPEC), saved, checkpoint)
    state = {k: v.half().contiguous() for k, v in saved["model"].items()}
    save_file(state, out, {"sam_spec": json.dumps(asdict(SPEC)), "step": str(saved["step"])})
    out.chmod(0o644)
