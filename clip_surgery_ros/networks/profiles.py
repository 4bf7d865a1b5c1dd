"""Profiles: what was fitted for one pair of networks, in files that name the pair by digests.

``clip_surgery fit`` writes a profile. It is used where CLIP and segmenter have the digests that it
names, and the parameters that it was fitted with are in force; it never applies to another pair.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.ranking import FEATURES, RankingModel
from clip_surgery_ros.core.types import Calibration
from clip_surgery_ros.weights.files import sha256

FORMAT = 1
"""Of the file. Another number is refused."""
FOLDER = "profiles"
"""Of profiles, in the folder of weights."""
_SUFFIX = ".profile.json"
_NAME_DIGITS = 12
"""Of each digest in the name of a profile: enough to tell a few networks apart."""


@dataclass(frozen=True)
class NetworkFile:
    """A weight file, as a profile names it.

    :param size: bytes. Files of another size are other networks, without reading them.
    :param sha256: hexadecimal.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> NetworkFile:
        """Return the digest of a weight file; a large one takes seconds."""
        return cls(path.stat().st_size, sha256(path))


@dataclass(frozen=True)
class Conditions:
    """The parameters that change what a profile describes.

    :param input_size: side of CLIP's input, pixels.
    :param attention: of surgery's new path.
    :param windows: whether CLIP encodes windows of the image too.
    :param templates: around every name.
    """

    input_size: int
    attention: str
    windows: bool
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """What was fitted for a pair of networks.

    :param presence: how cosines become presence.
    :param ranking: how masks are ranked and scored; None where the pictures had no masks.
    """

    clip: NetworkFile
    sam: NetworkFile
    conditions: Conditions
    presence: PresenceLevel
    ranking: RankingModel | None
    calibration: Calibration

    @property
    def file_name(self) -> str:
        """Name of its file: one pair has a profile for each of its conditions."""
        conditions = json.dumps(asdict(self.conditions), sort_keys=True)
        pair = f"{self.clip.sha256[:_NAME_DIGITS]}-{self.sam.sha256[:_NAME_DIGITS]}"
        return f"{pair}-{_short_digest(conditions)}{_SUFFIX}"

    @property
    def values(self) -> dict[str, Any]:
        """Everything it says, for JSON."""
        return {
            "format": FORMAT,
            "clip": asdict(self.clip),
            "sam": asdict(self.sam),
            "conditions": asdict(self.conditions),
            "presence": asdict(self.presence),
            "ranking": self.ranking and _ranking_values(self.ranking),
            "calibration": {
                name: None if math.isnan(value) else value
                for name, value in asdict(self.calibration).items()
            },
        }


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NAME_DIGITS]


def write_profile(profile: Profile, folder: Path) -> Path:
    """Write a profile into a folder; one of the same pair and conditions is replaced.

    :returns: the file.
    :raises WeightsError: the folder cannot be written.
    """
    path = folder / profile.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(profile.values, indent=1, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise WeightsError(f"profile {path} cannot be written: {error.strerror}") from error
    return path


def _ranking_values(model: RankingModel) -> dict[str, Any]:
    return {
        "features": FEATURES,
        "weights": [[round(float(value), 6) for value in row] for row in model.weights],
        "first": model.first,
        "further": model.further,
    }


def find_profiles(folders: Sequence[Path], clip: Path, sam: Path) -> tuple[Profile, ...]:
    """Return the profiles of a pair of weight files; those of earlier folders come first.

    Weight files are read only where a profile names a pair of their sizes.

    :param folders: that may have profiles; those that do not exist are skipped.
    :raises WeightsError: a profile cannot be read, or says what no profile can say.
    """
    files = [file for folder in folders for file in sorted(folder.glob(f"*{_SUFFIX}"))]
    profiles = [read_profile(file) for file in files]
    sizes = (clip.stat().st_size, sam.stat().st_size)
    near = [each for each in profiles if (each.clip.size, each.sam.size) == sizes]
    if not near:
        return ()
    pair = NetworkFile.of(clip), NetworkFile.of(sam)
    return tuple(each for each in near if (each.clip, each.sam) == pair)


def read_profile(path: Path) -> Profile:
    """Read and check a profile.

    :raises WeightsError: naming the file, and what to do.
    """
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise WeightsError(f"profile {path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"profile {path} is damaged or of another version ({error!r}); delete it, and run "
            "`clip_surgery fit` again"
        ) from error


def _parsed(values: Mapping[str, Any]) -> Profile:
    """Return the profile of the values of its file.

    :raises ValueError: or another plain error, when they are no profile.
    """
    if values["format"] != FORMAT:
        raise ValueError(f"its format is {values['format']}, not {FORMAT}")
    conditions = values["conditions"]
    ranking = values["ranking"]
    return Profile(
        NetworkFile(int(values["clip"]["size"]), str(values["clip"]["sha256"])),
        NetworkFile(int(values["sam"]["size"]), str(values["sam"]["sha256"])),
        Conditions(
            int(conditions["input_size"]),
            str(conditions["attention"]),
            bool(conditions["windows"]),
            tuple(map(str, conditions["templates"])),
        ),
        _presence(values["presence"]),
        None if ranking is None else _ranking(ranking),
        _calibration(values["calibration"]),
    )


def _presence(values: Mapping[str, Any]) -> PresenceLevel:
    offset = values["offset"]
    level = PresenceLevel(
        _finite(values["scale"]),
        None if offset is None else _finite(offset),
        _finite(values["peak_weight"]),
    )
    if level.scale <= 0 or level.peak_weight < 0:
        raise ValueError("presence falls where the evidence grows")
    return level


def _ranking(values: Mapping[str, Any]) -> RankingModel:
    if tuple(values["features"]) != FEATURES:
        raise ValueError(f"its features are {values['features']}")
    weights = np.array([[_finite(value) for value in row] for row in values["weights"]])
    if weights.shape != (len(FEATURES), len(FEATURES)):
        raise ValueError(f"its weights are {weights.shape}")
    first, further = (_logistic(values[name]) for name in ("first", "further"))
    return RankingModel(weights.astype(np.float32), first, further)


def _logistic(values: Sequence[Any]) -> tuple[float, float]:
    offset, scale = map(_finite, values)
    if scale <= 0:
        raise ValueError("the score falls where the predicted IoU grows")
    return offset, scale


def _calibration(values: Mapping[str, Any]) -> Calibration:
    counts = [int(values[name]) for name in ("pictures", "held_out")]
    if min(counts) < 1:
        raise ValueError("it was fitted or measured on no picture")
    score_error = values["score_error"]
    shares = [
        math.nan if score_error is None else _finite(score_error),
        *(_finite(values[name]) for name in ("presence_error", "found", "false_alarms")),
    ]
    if any(share < 0 or share > 1 for share in shares):
        raise ValueError("its errors and rates are not from 0 to 1")
    return Calibration(*counts, *shares)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
