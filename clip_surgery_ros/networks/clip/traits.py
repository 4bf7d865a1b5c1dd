"""Facts about a CLIP that are not in its weights, from the metadata or origin of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import open_clip

from clip_surgery_ros.core.presence import UNFITTED, PresenceLevel
from clip_surgery_ros.weights.provenance import Provenance


@dataclass(frozen=True)
class ClipTraits:
    """Facts about a CLIP that its weights do not contain.

    :param mean: mean of RGB in [0, 1], which preprocessing subtracts.
    :param std: standard deviation of RGB in [0, 1], by which preprocessing divides.
    :param presence: calibration of presence from the image embedding alone; where nothing was
        fitted, from tokens too.
    :param presence_with_tokens: calibration that also uses the image's tokens, for the attention
        ``v-v``; None where it was not measured.
    :param presence_with_windows: the same with the tokens of the windows.
    :param labels: names that the network was trained on; empty for an open vocabulary.
    :param attributes: words that it was trained on before these names.
    :param other_words: further words, each for one of these names.
    :param multilingual: whether the text tower reads other scripts than Latin.

    >>> ClipTraits(labels=("mug", "hammer")).multilingual
    False
    """

    mean: tuple[float, float, float] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, float, float] = open_clip.OPENAI_DATASET_STD
    presence: PresenceLevel = UNFITTED
    presence_with_tokens: PresenceLevel | None = None
    presence_with_windows: PresenceLevel | None = None
    labels: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    other_words: Mapping[str, str] = field(default_factory=dict)
    multilingual: bool = False


def read_traits(metadata: Mapping[str, str], provenance: Provenance) -> ClipTraits:
    """Return the traits from a file's metadata and origin, with defaults for what is unknown.

    :param metadata: of a safetensors file; only the demo's files have these entries.
    """
    traits = ClipTraits(mean=provenance.mean, std=provenance.std)
    if "presence_scale" not in metadata:
        return traits
    return replace(
        traits,
        presence=PresenceLevel(
            float(metadata["presence_scale"]), float(metadata["presence_offset"])
        ),
        presence_with_tokens=_parse_presence_level(metadata.get("presence_with_tokens")),
        presence_with_windows=_parse_presence_level(metadata.get("presence_with_windows")),
        labels=tuple(json.loads(metadata.get("labels", "[]"))),
        attributes=tuple(json.loads(metadata.get("attributes", "[]"))),
        other_words=json.loads(metadata.get("other_words", "{}")),
    )


def _parse_presence_level(text: str | None) -> PresenceLevel | None:
    """Return the calibration from JSON, or None where the file has none."""
    return PresenceLevel(**json.loads(text)) if text else None
