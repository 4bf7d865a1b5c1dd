"""Results of images as the files of items have them: to JSON and back.

Masks are COCO's compressed run lengths, and arrays are base64 of their bytes, little-endian.
"""

from __future__ import annotations

import base64
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clip_surgery_ros.core.geometry import crop, uncrop
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.run_lengths import (
    compressed_runs,
    decompressed_runs,
    mask_of_runs,
    run_lengths,
)
from clip_surgery_ros.core.types import (
    AbsentLabel,
    Box,
    Calibration,
    FrameResult,
    PointPrompts,
    Query,
    Segment,
)
from clip_surgery_ros.pictures.decode import decode
from clip_surgery_ros.tracks.image_motion import ImageMotion, Reduced

Values = dict[str, Any]
_DIGITS = 6
"""Of scores: more than float32 holds."""
_APPEARANCE = "<f2"
"""Half precision changes a cosine of two appearances by less than 0.001, and halves the files."""
_MOTION = "<f4"
"""Places of corners, exact to a thousandth of a pixel in pictures of 8000 pixels."""


def values_of(result: FrameResult) -> Values:
    """Return the result of an image as JSON has it. Maps are left out."""
    return {
        "size_hw": list(result.size_hw),
        "presence": _rounded(result.presence),
        "probabilities": _rounded(result.probabilities),
        "objects": [_object(segment, result) for segment in result.segments],
        "absent": [asdict(label) for label in result.absent],
        "calibration": _calibration(result.calibration),
    }


def result_of(values: Values, query: Query) -> FrameResult:
    """Return the result that :func:`values_of` stored, with empty maps and unknown thresholds.

    :param query: that it was computed for.
    """
    size_hw = (values["size_hw"][0], values["size_hw"][1])
    calibration = values["calibration"]
    if calibration is not None:
        numbers: Values = {k: math.nan if v is None else v for k, v in calibration.items()}
        calibration = Calibration(**numbers)
    count = len(query.labels)
    return FrameResult(
        query=query,
        size_hw=size_hw,
        similarity=np.zeros((count, 0, 0), np.float32),
        presence=np.array(values["presence"], np.float32),
        probabilities=np.array(values["probabilities"], np.float32),
        thresholds=np.full(count, np.nan, np.float32),
        segments=tuple(
            _segment(number, each, size_hw, query)
            for number, each in enumerate(values["objects"], 1)
        ),
        absent=tuple(AbsentLabel(**each) for each in values["absent"]),
        calibration=calibration,
    )


def motion_values(motion: ImageMotion) -> Values:
    """Return a motion as JSON has it."""
    return {
        "before": text_of(motion.before, _MOTION),
        "after": text_of(motion.after, _MOTION),
        "common": None if motion.common is None else motion.common.ravel().tolist(),
    }


def motion_of(values: Values) -> ImageMotion:
    """Return the motion that :func:`motion_values` stored."""
    before, after = (array_of(values[name], _MOTION, np.float64) for name in ("before", "after"))
    common = values["common"]
    return ImageMotion(
        before.reshape(-1, 2),
        after.reshape(-1, 2),
        None if common is None else np.array(common).reshape(2, 3),
    )


def picture_values(picture: Reduced | None) -> Values | None:
    """Return a reduced picture as JSON has it: a PNG."""
    if picture is None:
        return None
    png = base64.b64encode(encode_image(".png", picture.grey)).decode()
    return {"png": png, "scale": picture.scale}


def picture_of(values: Values | None) -> Reduced | None:
    """Return the picture that :func:`picture_values` stored."""
    if values is None:
        return None
    grey = decode(base64.b64decode(values["png"]), "a reduced picture", ("PNG",))
    return Reduced(grey, values["scale"])


def _object(segment: Segment, result: FrameResult) -> Values:
    box, points = segment.box, segment.points
    mask = uncrop(segment.mask, box, result.size_hw)
    appearance = segment.appearance
    return {
        "label": segment.label,
        "score": round(float(segment.score), _DIGITS),
        "presence": round(float(segment.presence), _DIGITS),
        "similarity": round(float(segment.similarity), _DIGITS),
        "agreement": round(float(segment.agreement), _DIGITS),
        "box": [box.x, box.y, box.width, box.height],
        "area": int(np.count_nonzero(segment.mask)),
        "counts": compressed_runs(run_lengths(mask)),
        "points": [
            [x, y, int(positive)]
            for (x, y), positive in zip(points.xy.tolist(), points.positive.tolist(), strict=True)
        ],
        "appearance": None if appearance is None else text_of(appearance, _APPEARANCE),
    }


def _segment(number: int, values: Values, size_hw: tuple[int, int], query: Query) -> Segment:
    box, points = Box(*values["box"]), np.array(values["points"], np.int32).reshape(-1, 3)
    appearance = values["appearance"]
    return Segment(
        id=number,
        label=values["label"],
        name=query.names[values["label"]],
        score=values["score"],
        presence=values["presence"],
        similarity=values["similarity"],
        agreement=values["agreement"],
        box=box,
        mask=crop(mask_of_runs(decompressed_runs(values["counts"]), size_hw), box),
        points=PointPrompts(points[:, :2], points[:, 2] > 0),
        appearance=None if appearance is None else array_of(appearance, _APPEARANCE, np.float32),
    )


def _calibration(calibration: Calibration | None) -> Values | None:
    """Return what presence and score were fitted on; JSON has no NaN."""
    if calibration is None:
        return None
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(calibration).items()
    }


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [round(value, _DIGITS) for value in values.astype(np.float64).tolist()]


def text_of(array: NDArray[Any], dtype: str) -> str:
    """Return an array of any shape as base64 of its bytes.

    :param dtype: in which they are stored, such as ``<f4``.
    """
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def array_of(text: str, dtype: str, wanted: DTypeLike) -> NDArray[Any]:
    """Return the flat array that :func:`text_of` stored, as another type."""
    return np.frombuffer(base64.b64decode(text), dtype).astype(wanted)
