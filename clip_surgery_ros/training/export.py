"""Convert training checkpoints to the weight files that the package ships (``weights/demo``).

The files are safetensors in float16, which halves their size. The rounding errors are far smaller
than the variation between trainings, and the card's metrics are measured on the shipped files. Of
the vocabulary, tokens that captions of the demo use are stored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.fitting import fit_presence
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.text_features import save_text_features
from clip_surgery_ros.networks.clip.vocabulary_table import (
    VOCABULARY_SIZE,
    without_unused_tokens,
)
from clip_surgery_ros.networks.sam.build import build_sam
from clip_surgery_ros.training import checkpoints, exported
from clip_surgery_ros.training.clip_model import (
    HEAD_WIDTH,
    Vocabulary,
    build_clip,
)
from clip_surgery_ros.training.sam_model import SPEC

INPUT_SIZE = 144
"""Side to which images are resized in use: maps are finer than at the trained 96, and masks better
on the development scenes."""
CALIBRATION_SCENES = 100
"""Development scenes of each set on which presence is fitted: the error is negligible."""


def export_clip(
    checkpoint: Path, out: Path, scenes: WorldScenes, count: int = CALIBRATION_SCENES
) -> None:
    """Write the CLIP in OpenAI's state-dict layout, with its presence levels as metadata.

    The metadata are:

    - ``head_width``,
    - ``input_size``, the default,
    - ``presence_scale`` and ``presence_offset``, for the CLS token alone,
    - ``presence_with_tokens`` and ``presence_with_windows``, JSON, for patch tokens too, without
      and with windows,
    - ``step`` and ``heads``, JSON, from which a training resumes,
    - ``labels``, a JSON list of the known names,
    - ``other_words``, a JSON object of further words and the name of each,
    - ``attributes``, a JSON list of the words that may stand before a name.

    :param checkpoint: of a training, or a file of this function, whose presence is fitted anew.
    :param scenes: what it was trained on; presence is fitted on the development split.
    :param count: development scenes of each set.
    """
    vocabulary = Vocabulary()
    saved = (
        exported.read_clip(checkpoint, vocabulary)
        if checkpoint.suffix == exported.SUFFIX
        else checkpoints.load(checkpoint, ("model", "heads", "step"))
    )
    checkpoints.restore(build_clip(len(vocabulary)), saved, checkpoint)
    model = dict(saved["model"])
    table = torch.zeros(VOCABULARY_SIZE, model["token_embedding.weight"].shape[1])
    table[vocabulary.ids] = model["token_embedding.weight"][1:]
    model["token_embedding.weight"] = table
    tensors = {k: v.half().contiguous() for k, v in model.items()}

    clip = ClipBackend.from_state_dict(tensors, head_width=HEAD_WIDTH, input_size=INPUT_SIZE)
    metadata = {
        "head_width": str(HEAD_WIDTH),
        "input_size": str(INPUT_SIZE),
        **presence_levels(clip, scenes, count),
        "step": str(saved["step"]),
        "heads": json.dumps({name: value.item() for name, value in saved["heads"].items()}),
        "labels": json.dumps(scenes.names),
        "other_words": json.dumps(dict(scenes.other_words)),
        "attributes": json.dumps(scenes.attributes),
    }
    save_file(without_unused_tokens(tensors), out, metadata)
    out.chmod(
        0o644
    )  # safetensors lets only the owner read it; all users need an installed package


def presence_levels(clip: ClipBackend, scenes: WorldScenes, count: int) -> dict[str, str]:
    """Fit all presence levels and return them as metadata.

    :param count: development scenes of each set.
    """
    present, absent = presence_cosines(clip, scenes, count, windows=False)
    cls_level = fit_presence([kind[:, :1] for kind in present], [kind[:, :1] for kind in absent])
    token_level = fit_presence(present, absent)
    window_level = fit_presence(*presence_cosines(clip, scenes, count, windows=True))
    return {
        "presence_scale": str(cls_level.scale),
        "presence_offset": str(cls_level.offset),
        "presence_with_tokens": json.dumps(asdict(token_level)),
        "presence_with_windows": json.dumps(asdict(window_level)),
    }


def export_texts(clip_file: Path, out: Path) -> None:
    """Write the features of all names and of the empty text, which every query needs.

    Without the file, a node would spend a second or more on its first frame to compute them.
    """
    clip = ClipBackend.from_file(clip_file)
    texts = [*clip.vocabulary.names, ""]
    save_text_features(out, dict(zip(texts, clip.text_features(texts), strict=True)))


def presence_cosines(
    clip: ClipBackend, scenes: WorldScenes, count: int, windows: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the cosines of labels with the CLS token and with the best patch token, by kind.

    Kinds are names, phrases, and phrases whose name is in the scene, but not as they say.

    :param count: development scenes of each set.
    :param windows: encode windows of the image too.
    :returns: (P, 2) of each kind of labels that are in the scenes, and (A, 2) of those that are
        not.
    """
    present: dict[str, list[Tensor]] = defaultdict(list)
    absent: dict[str, list[Tensor]] = defaultdict(list)
    names, texts = {*scenes.names, *scenes.other_words}, dict[str, Tensor]()
    for example in tqdm(_claims(scenes, count), total=count * len(scenes.sets), unit="scene"):
        new = [label for label in example.queried if label not in texts]
        if new:
            texts.update(zip(new, clip.text_features(new), strict=True))
        tokens, _ = encode_image(clip, clip.surgery_tokens, example.image, windows)
        cosines = tokens[0] @ torch.stack([texts[label] for label in example.queried]).T
        both = torch.stack([cosines[0], cosines[1:].amax(dim=0)], dim=1)
        for label, values in zip(example.queried, both, strict=True):
            kind = "name" if label in names else "phrase"
            if label in example.misleading:
                kind = "misleading"
            (present if label in example.present else absent)[kind].append(values)
    return [torch.stack(kind) for kind in present.values()], [
        torch.stack(kind) for kind in absent.values()
    ]


def _claims(scenes: WorldScenes, count: int) -> Iterator[Example]:
    for name in scenes.sets:
        yield from scenes.claims(name, "development", count)


def export_sam(checkpoint: Path, out: Path) -> None:
    """Write the SAM, with its sizes (JSON, ``sam_spec``) and its last ``step`` as metadata.

    :param checkpoint: of a training, or a file of this function.
    """
    saved = (
        exported.read_sam(checkpoint)
        if checkpoint.suffix == exported.SUFFIX
        else checkpoints.load(checkpoint, ("model", "step"))
    )
    checkpoints.restore(build_sam(SPEC), saved, checkpoint)
    state = {k: v.half().contiguous() for k, v in saved["model"].items()}
    save_file(state, out, {"sam_spec": json.dumps(asdict(SPEC)), "step": str(saved["step"])})
    out.chmod(0o644)
