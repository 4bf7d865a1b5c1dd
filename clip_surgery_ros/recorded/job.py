"""What a worker does with items: in this process, in another one or on another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.networks.same_kernels import load_with_same_kernels
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.label import label_item
from clip_surgery_ros.recorded.plan import Item, dependencies


class Job(Protocol):
    """Work on items. It travels to workers, so it is small, and is pickled."""

    def prepare(self) -> None:
        """Load what all items need.

        :raises ClipSurgeryError: when this machine lacks it.
        """

    def do(self, item: Item) -> None:
        """Do an item; its result is in its file then.

        :raises ClipSurgeryError: when that is not possible.
        """


@dataclass(frozen=True)
class LabelJob:
    """Labels items.

    :param output: folder of results.
    :param depends: what results depend on where the plan was made, see
        :func:`~clip_surgery_ros.recorded.plan.dependencies`.
    """

    query: Query
    config: Config
    output: Path
    depends: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Load the networks, on a machine that may not be that of the plan.

        :raises ConfigError: when weights or profiles are others than in the plan.
        :raises ClipSurgeryError: as :func:`~clip_surgery_ros.networks.factory.load_networks`.
        """
        here = dependencies(self.query, self.config)
        for name, remedy in _REMEDIES.items():
            if _text(here[name]) != _text(self.depends[name]):
                raise ConfigError(f"its {name} are not those of the plan: {remedy}")
        _networks(self.config)

    def do(self, item: Item, on_frame: Callable[[], None] = lambda: None) -> None:
        """Label an item.

        :param on_frame: called after each image.
        :raises ClipSurgeryError: as :func:`~clip_surgery_ros.recorded.label.label_item`.
        """
        label_item(item, self.query, _networks(self.config), self.output, on_frame)


_REMEDIES = {
    "weights": "copy the same weight files to all nodes",
    "profiles": "have the same profiles of `clip_surgery fit` on all nodes, in "
    "CLIP_SURGERY_ROS_HOME",
}


@cache
def _networks(config: Config) -> LoadedNetworks:
    """Load the networks of this process when they are first needed."""
    return load_with_same_kernels(config)


def _text(values: Any) -> str:
    """Return what compares as equal after a journey."""
    return json.dumps(values, sort_keys=True)
