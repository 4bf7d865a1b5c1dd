"""What asking an index of recorded bags takes, with simulated entries."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.recorded.answers import Index
from clip_surgery_ros.recorded.features import LOCAL_TOKENS
from clip_surgery_ros.recorded.index import (
    FRAME,
    IndexedBag,
    Manifest,
    build_from,
    need_faiss,
    new_array,
)

ENTRIES = 1_000_000
"""Features: eight hours of images, two a second, with the local tokens of each."""
CHANNELS = 512
"""Of ViT-B/16."""
THREADS = 2
"""A small computer's cores."""
IMAGES_OF_A_SCENE = 100
"""Images that show about the same, as a robot's camera looks at a scene for a while."""
NOISE = 0.7
"""Of an entry, as a share of its scene's feature: entries of a scene have a cosine of 0.67."""
QUESTIONS = 40
ANSWERS = 10
LEVEL = PresenceLevel(scale=20.0, offset=0.5, peak_weight=1.0)
"""As fitted ones are; the time does not depend on it."""


def search(setting: Setting) -> list[Row]:
    """Measure an ask, and how many of the best answers of a comparison with all entries it has."""
    need_faiss()
    import faiss

    frames = ENTRIES // (1 + LOCAL_TOKENS)
    faiss.omp_set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        scenes = _simulate(folder / "simulated.vectors.npy", frames, rng)
        start_s = time.perf_counter()
        build_from(folder, Manifest({}, (_bag(),)), "simulated", _table(frames))
        built_s = time.perf_counter() - start_s
        size = sum(file.stat().st_size for file in folder.glob("simulated.*"))
        index = Index(folder)
        texts = _unit(
            scenes[rng.integers(0, len(scenes), QUESTIONS)] + 0.5 * _noise(rng, QUESTIONS)
        )
        index.ask(texts[:1], LEVEL, ANSWERS)
        seconds, processor = [], []
        for text in texts:
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            index.ask(text[None], LEVEL, ANSWERS)
            seconds.append(time.perf_counter() - start_s)
            processor.append(time.process_time() - start_cpu_s)
        share = np.mean([_share(index, folder, text) for text in texts[: setting.rounds]])
    return [
        Row(
            f"asking {frames * (1 + LOCAL_TOKENS):,} entries of {CHANNELS} channels, "
            f"{THREADS} threads",
            1000 * float(np.median(seconds)),
            "under 50 ms",
            "ms",
            seconds={
                "fastest": min(seconds),
                "slowest": max(seconds),
                "processor": float(np.median(processor)),
            },
        ),
        Row(f"its best {ANSWERS} answers that a comparison with all has too", float(share), ""),
        Row("making its searches", built_s, "", "s"),
        Row("its size", size / 1e6, "", "MB"),
    ]


def _noise(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return (..., C) noise whose rows have a length of about 1."""
    noise = rng.standard_normal((*shape, CHANNELS), dtype=np.float32)
    return noise / np.float32(CHANNELS**0.5)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def _simulate(path: Path, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Write features of images; return (scenes, C) what their entries are like."""
    each = 1 + LOCAL_TOKENS
    scenes = _unit(_noise(rng, -(-frames // IMAGES_OF_A_SCENE), each))
    with new_array(path, (frames, each, CHANNELS)) as vectors:
        for number, scene in enumerate(scenes):
            rows = vectors[number * IMAGES_OF_A_SCENE : (number + 1) * IMAGES_OF_A_SCENE]
            rows[:] = _unit(scene + NOISE * _noise(rng, len(rows), each))
    return scenes.reshape(-1, CHANNELS)


def _table(frames: int) -> NDArray[np.void]:
    """Return the table of images, two a second."""
    table = np.zeros(frames, FRAME)
    table["log_time"] = np.arange(frames) * 500_000_000
    table["level"] = LEVEL.offset
    return table


def _bag() -> IndexedBag:
    return IndexedBag("simulated", "/simulated", "/camera", ("item",), ("/simulated/0.mcap",))


def _share(index: Index, folder: Path, text: NDArray[np.float32]) -> float:
    """Return the share of the best answers that an ask finds."""
    found = {answer.log_time for answer in index.ask(text[None], LEVEL, ANSWERS)}
    vectors = np.load(folder / "simulated.vectors.npy", mmap_mode="r")
    scores = np.concatenate(
        [
            cosines[:, 0] + LEVEL.peak_weight * cosines[:, 1:].max(axis=1)
            for start in range(0, len(vectors), 4096)
            for cosines in [np.asarray(vectors[start : start + 4096], np.float32) @ text]
        ]
    )
    best = np.argsort(-scores, kind="stable")[:ANSWERS] * 500_000_000
    return len(found & set(best.tolist())) / ANSWERS
