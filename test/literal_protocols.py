"""Protocols of published figures, word by word and pixel by pixel, in plain numpy.

They share nothing with the package but the network's tokens and text features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CLIP_MEAN = np.array([122.771, 116.746, 104.094])
CLIP_STD = np.array([68.501, 66.632, 70.323])
"""Of pixels from 0 to 255, as the papers' configurations have them."""
Tokens = Callable[[torch.Tensor], torch.Tensor]


def bilinear(values: NDArray, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Resize (..., h, w) with centres of pixels at halves, not antialiased."""
    for axis, side in ((-2, size_hw[0]), (-1, size_hw[1])):
        old = values.shape[axis]
        places = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, old - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, old - 1)
        weight = places - low
        shape = [1, 1]
        shape[axis] = side
        weight = weight.reshape(shape)
        values = np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
    return values


def short_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = min(2048 / max(height, width), side / min(height, width))
    size = int(width * float(scale) + 0.5), int(height * float(scale) + 0.5)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def cosines(tokens: Tokens, text: NDArray, pixels: NDArray, patch: int) -> NDArray[np.float64]:
    """(3, h, w) normalised pixels to the (Q, gh, gw) cosines of the whole patches in them."""
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    whole = torch.from_numpy(pixels[None, :, : rows * patch, : columns * patch]).float()
    found = tokens(whole)[0, 1:].double().numpy()
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    return (found @ text.T).T.reshape(len(text), rows, columns)


def window_cosines(
    tokens: Tokens,
    text: NDArray,
    image: NDArray[np.uint8],
    patch: int,
    side: int,
    window: int,
    stride: int,
) -> NDArray[np.float64]:
    """(Q, H, W) cosines of a picture by sliding windows; window 0 is the whole picture."""
    small = short_side(image, side)
    pixels = ((small - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)
    height, width = small.shape[:2]
    total, count = np.zeros((len(text), height, width)), np.zeros((height, width))
    crop_h, crop_w, step = (window, window, stride) if window else (height, width, 1)
    for row in range(max(height - crop_h + step - 1, 0) // step + 1):
        for column in range(max(width - crop_w + step - 1, 0) // step + 1):
            bottom = min(row * step + crop_h, height)
            right = min(column * step + crop_w, width)
            top, left = max(bottom - crop_h, 0), max(right - crop_w, 0)
            crop = pixels[:, top:bottom, left:right]
            found = cosines(tokens, text, crop, patch)
            total[:, top:bottom, left:right] += bilinear(found, crop.shape[1:])
            count[top:bottom, left:right] += 1
    assert count.min() >= 1
    return bilinear(total / count, image.shape[:2])


def squashed_cosines(
    tokens: Tokens,
    text: NDArray,
    image: NDArray[np.uint8],
    patch: int,
    size: int,
    mean: Sequence[float] = CLIP_MEAN / 255,
    std: Sequence[float] = CLIP_STD / 255,
) -> NDArray[np.float64]:
    """(Q, H, W) cosines of a picture that is squashed to a square."""
    small = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    pixels = ((small / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    return bilinear(cosines(tokens, text, pixels, patch), image.shape[:2])


def classes_of_pixels(
    found: NDArray[np.float64],
    class_of_name: Sequence[int],
    scale: float,
    threshold: float = 0.0,
    area: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(Q, H, W) cosines to the (H, W) classes, and how clearly each is the highest."""
    powers = np.exp(scale * (found - found.max(0)))
    names = powers / powers.sum(0)
    number = max(class_of_name) + 1
    classes = np.zeros((number, *found.shape[1:]))
    for name, index in enumerate(class_of_name):
        classes[index] = np.maximum(classes[index], names[name])
    if area:
        first = classes.argmax(0)
        areas = [np.sum(first == index) for index in range(1, number)]
        for index in range(1, number):
            if not areas[index - 1] > area * sum(areas):
                classes[index] = 0
    ordered = np.sort(classes, axis=0)
    clear = ordered[-1] - ordered[-2]
    result = classes.argmax(0)
    if threshold:
        result[ordered[-1] < threshold] = 0
        clear = np.minimum(clear, np.abs(ordered[-1] - threshold))
    return result, clear


def mean_iou(pairs: Sequence[tuple[NDArray, NDArray]], number: int) -> float:
    """The mean IoU of (truth, found) of all pictures together; 255 in the truth is ignored."""
    ious = []
    for index in range(number):
        both = either = 0
        for truth, found in pairs:
            counted = truth != 255
            both += np.sum(counted & (truth == index) & (found == index))
            either += np.sum(counted & ((truth == index) | (found == index)))
        if either:
            ious.append(both / either)
    return float(np.mean(ious))


def explanation(
    pairs: Sequence[tuple[NDArray, dict[int, NDArray]]], thresholds: Sequence[float]
) -> dict[str, float]:
    """Figures of maps: pairs of (H, W) truth, 0 is background, and the map of each class in it."""
    present = sorted({index for _, maps in pairs for index in maps})
    by_class, by_label = [], []
    for threshold in thresholds:
        both, either, labels = dict.fromkeys(present, 0), dict.fromkeys(present, 0), []
        for truth, maps in pairs:
            for index, values in maps.items():
                inside = (truth == index) & (truth != 255)
                above = (values.astype(np.float64) >= threshold) & (truth != 255)
                both[index] += np.sum(inside & above)
                either[index] += np.sum(inside | above)
                labels.append(np.sum(inside & above) / np.sum(inside | above))
        by_class.append(np.mean([both[index] / either[index] for index in present]))
        by_label.append(np.mean(labels))
    contrasts: dict[int, list[float]] = {index: [] for index in present}
    for truth, maps in pairs:
        for index, values in maps.items():
            inside, outside = truth == index, (truth != index) & (truth != 255)
            contrasts[index].append(float(values[inside].mean() - values[outside].mean()))
    return {
        "mIoU": float(max(by_class)),
        "threshold": float(thresholds[int(np.argmax(by_class))]),
        "mIoU of labels": float(max(by_label)),
        "mSC": float(np.mean([np.mean(values) for values in contrasts.values()])),
        "mSC of labels": float(
            np.mean([value for values in contrasts.values() for value in values])
        ),
    }


def write_pascal(
    root: Path,
    pictures: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    masks: str = "SegmentationClass",
    lists: str = "Segmentation",
) -> Path:
    """Write pictures and masks in VOC's layout, with a list of validation pictures."""
    for folder in ("JPEGImages", masks, f"ImageSets/{lists}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, (image, mask) in pictures.items():
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        coloured = Image.fromarray(mask)
        coloured.putpalette([(37 * value) % 256 for value in range(768)])
        coloured.save(root / masks / f"{name}.png")
    (root / "ImageSets" / lists / "val.txt").write_text("".join(f"{n}\n" for n in pictures))
    return root


def read_jpeg(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))
