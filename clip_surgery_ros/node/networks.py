"""The networks of the node: loaded when it is configured, released when it is cleaned up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.types import Calibration, FrameResult, Query, Wanted
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.logs import RosLogger
from clip_surgery_ros.ros.parameters import same_networks


class Engine(Protocol):
    """What processes an image: ``core.pipeline.Pipeline``, or a fake in tests."""

    def run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """Compute what is wanted of an (H, W, 3) uint8 RGB image for a query."""


class Networks(Protocol):
    """What a loader returns: ``networks.factory.LoadedNetworks``, or a fake in tests."""

    @property
    def device(self) -> str:
        """The device they run on, for people."""

    @property
    def precision(self) -> str:
        """The number format they compute in, for people."""

    @property
    def sources(self) -> str:
        """Which networks these are, and from which files, for people."""

    @property
    def know_demo_only(self) -> bool:
        """Whether they are the demo's networks, which know generated scenes only."""

    @property
    def fell_back(self) -> bool:
        """Whether CUDA was requested and the CPU is used."""

    @property
    def multilingual(self) -> bool:
        """Whether labels may be in other scripts than the Latin one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that CLIP knows, if it was trained on a closed list of names."""

    @property
    def text_counts(self) -> TextCounts:
        """How many texts were encoded, and how many came from the cache."""

    def calibration(self, config: Config) -> Calibration | None:
        """Return what presence and score were fitted on; None if not for these networks."""

    def pipeline(self, config: Config) -> Engine:
        """Return an engine with these networks and the live parameters of ``config``; cheap."""


NetworkLoader = Callable[[Config], Networks]
"""Loads the networks that a configuration names; slow."""


class NodeNetworks:
    """Holds the networks of a node: one CLIP and one SAM at most.

    :param load: loads networks.
    :param free_memory: called after networks were released; returns their memory to the system.
    :param on_loaded: called after networks were loaded.
    :param logger: of the node.
    """

    def __init__(
        self,
        load: NetworkLoader,
        free_memory: Callable[[], None],
        on_loaded: Callable[[], None],
        logger: RosLogger,
    ) -> None:
        self._load, self._free_memory, self._on_loaded = load, free_memory, on_loaded
        self._logger = logger
        self._loaded: tuple[Config, Networks] | None = None
        self._engine: tuple[Config, Engine] | None = None

    @property
    def loaded(self) -> Networks | None:
        """The networks, or None when none are loaded."""
        return self._loaded[1] if self._loaded else None

    def load(self, config: Config) -> Networks:
        """Return the networks that ``config`` names; load them unless they are loaded already."""
        if self._loaded is not None and same_networks(config, self._loaded[0]):
            return self._loaded[1]
        self.release()  # first: two pairs of networks may not fit into memory
        start_s = time.monotonic()
        networks = run_on_short_lived_thread(partial(self._load, config))
        self._loaded = (config, networks)
        self._logger.info(
            f"networks loaded in {time.monotonic() - start_s:.1f} s on {networks.device} in "
            f"{networks.precision}: {networks.sources}"
        )
        self._logger.info(f"presence and score: {calibration_note(networks, config)}")
        if networks.fell_back:
            self._logger.warning(
                f"device {config.device} is not available; running on the CPU, as "
                "allow_cpu_fallback permits"
            )
        self._on_loaded()
        return networks

    def engine(self, config: Config) -> Engine:
        """Return the engine for these parameters; a new one only when they have changed.

        Call this on the worker's thread only.
        """
        if self._engine is None or self._engine[0] is not config:
            self._engine = (config, self.load(config).pipeline(config))
        return self._engine[1]

    def release(self) -> None:
        """Drop the networks and free their memory."""
        self._loaded = self._engine = None
        self._free_memory()

    def unknown_notes(self, query: Query) -> list[str]:
        """Return a note for each label that the networks do not know; empty without networks."""
        return self.loaded.vocabulary.unknown_notes(query) if self.loaded else []


def calibration_note(networks: Networks, config: Config) -> str:
    """Return what presence and score were fitted on, for people."""
    calibration = networks.calibration(config)
    if calibration is None:
        return (
            "uncalibrated: there is no profile of these networks and parameters, so the score "
            "ranks masks and is no probability; `clip_surgery fit` makes a profile"
        )
    return calibration.sentence


def run_on_short_lived_thread(load: Callable[[], Networks]) -> Networks:
    """Load networks on a thread that ends afterwards.

    Each thread that computes keeps a pool of OpenMP threads as long as it lives. With more such
    threads than cores, the pools slow each other down: after the main thread had loaded the
    networks, SAM's decoder took a fifth longer on the worker's thread.
    """
    with ThreadPoolExecutor(1, "loader") as threads:
        return threads.submit(load).result()
