"""A depth camera that errs as active stereo does; each error has a switch.

The model is of the kind of an Intel RealSense D400. It was not fitted to a real camera.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.geometry import Geometry
from clip_surgery_ros.world.materials import SURFACE_FINISHES
from clip_surgery_ros.world.noise import noise_sheet, sample
from clip_surgery_ros.world.render import Rendering

Floats = NDArray[np.float32]

EDGE = 1.0
"""Pixels of disparity between neighbours that make an edge."""
GRAZING = 0.10
"""Least cosine between normal and ray that is measured: about 84 degrees."""
DARK = 0.012
"""Least base colour (linear, mean of RGB) that returns enough of the pattern's light."""
DROPOUT = 0.002
"""Share of pixels lost for no reason."""
METAL_LOST = 0.62
"""Pixels of metal are lost where noise in [0, 1] with mean 0.5 exceeds this: about a third."""


@dataclass(frozen=True)
class StereoErrors:
    """Which errors a depth camera has, and its optics.

    >>> NO_ERRORS == StereoErrors.none()
    True

    :param noise: disparity noise, smooth over a few pixels.
    :param steps: disparity comes in steps of 1/16 pixel.
    :param flying: at edges half of the pixels lie between front and back.
    :param shadows: no depth at left edges, where the second camera sees another surface.
    :param metal: holes on metal.
    :param dark: holes on dark surfaces.
    :param grazing: holes on surfaces seen from the side.
    :param dropouts: single pixels without depth.
    :param limits: nothing nearer than ``nearest`` or farther than ``farthest``.
    :param baseline: between the two cameras, metres.
    :param deviation: of the disparity noise, pixels.
    :param step: of disparity, pixels.
    """

    noise: bool = True
    steps: bool = True
    flying: bool = True
    shadows: bool = True
    metal: bool = True
    dark: bool = True
    grazing: bool = True
    dropouts: bool = True
    limits: bool = True
    baseline: float = 0.05
    deviation: float = 0.07
    step: float = 1 / 16
    nearest: float = 0.1
    farthest: float = 10.0

    @classmethod
    def none(cls) -> StereoErrors:
        """Return a camera that measures the truth."""
        return cls.only()

    @classmethod
    def only(cls, *names: str) -> StereoErrors:
        """Return a camera with the named errors alone."""
        switches = [f.name for f in fields(cls) if isinstance(f.default, bool)]
        return cls(**{name: name in names for name in switches})


REALISTIC = StereoErrors()
"""All errors."""
NO_ERRORS = StereoErrors.none()
"""Depth as it is."""


def measured_depth(
    rendering: Rendering,
    geometry: Geometry,
    camera: Camera,
    errors: StereoErrors,
    rng: np.random.Generator,
) -> Floats:
    """Return what a depth camera measures, (H, W) float32 metres, 0 where it measures nothing."""
    truth = rendering.depth
    scale = camera.focal * errors.baseline
    disparity = np.where(truth > 0, scale / np.maximum(truth, 1e-3), 0).astype(np.float32)
    result = truth
    if errors.noise or errors.steps or errors.flying:
        erring = _erring_disparity(disparity, errors, rng)
        result = np.where((truth > 0) & (erring > 0), scale / np.maximum(erring, 1e-3), 0)
    lost = truth <= 0
    if errors.shadows:
        lost |= stereo_shadow(disparity)
    if errors.grazing:
        lost |= rendering.facing < GRAZING
    if errors.metal:
        finishes = [SURFACE_FINISHES[m.finish].is_metal for m in geometry.materials]
        lost |= np.array(finishes)[rendering.material] & _blotches(truth.shape, rng)
    if errors.dark:
        base = np.array([m.rgb.mean() for m in geometry.materials])
        dark = (base < DARK)[rendering.material]
        lost |= dark & (rng.random(truth.shape) < 0.6)
    if errors.dropouts:
        lost |= rng.random(truth.shape) < DROPOUT
    if errors.limits:
        lost |= (result < errors.nearest) | (result > errors.farthest)
    return np.where(lost, 0, result).astype(np.float32)


def _erring_disparity(disparity: Floats, errors: StereoErrors, rng: np.random.Generator) -> Floats:
    """Return disparity with flying pixels, noise and steps, in this order."""
    result = disparity
    if errors.flying:
        edge = _disparity_edges(disparity) & (rng.random(disparity.shape) < 0.5)
        result = np.where(edge, cv2.blur(disparity, (3, 3)), result)
    if errors.noise:
        noise = cv2.GaussianBlur(
            rng.standard_normal(disparity.shape, dtype=np.float32), (0, 0), 1.2
        )
        result = result + noise * np.float32(errors.deviation / max(float(noise.std()), 1e-6))
    if errors.steps:
        result = np.round(result / errors.step) * np.float32(errors.step)
    return result.astype(np.float32)


def _disparity_edges(disparity: Floats) -> NDArray[np.bool_]:
    """Return pixels beside a jump of disparity, (H, W)."""
    result = np.zeros(disparity.shape, np.bool_)
    across = np.abs(np.diff(disparity, axis=1)) > EDGE
    down = np.abs(np.diff(disparity, axis=0)) > EDGE
    result[:, 1:] |= across
    result[:, :-1] |= across
    result[1:] |= down
    result[:-1] |= down
    return result


def stereo_shadow(disparity: Floats) -> NDArray[np.bool_]:
    """Return pixels that the second camera, to the right, does not see, (H, W).

    A pixel of column x is seen there in column x - disparity; of those that meet in one column
    the one with the greatest disparity hides the others.
    """
    height, width = disparity.shape
    column = np.round(np.arange(width)[None] - disparity).astype(np.int64)
    left = int(max(0, -column.min()))
    nearest = np.zeros((height, width + left + 1), np.float32)
    row = np.repeat(np.arange(height)[:, None], width, 1)
    np.maximum.at(nearest, (row, column + left), disparity)
    return np.asarray(disparity < nearest[row, column + left] - EDGE)


def _blotches(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return about a third of the pixels, in small patches, (H, W)."""
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]].reshape(2, -1) / 60).astype(np.float32)
    shift = rng.random(2).astype(np.float32)
    fine = sample(noise_sheet(), x + shift[0], y + shift[1])[:, 1]
    return np.asarray(fine.reshape(shape[0], shape[1]) > METAL_LOST)
