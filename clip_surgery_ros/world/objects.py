"""Fills the table of objects: import this, then use ``catalogue.KINDS`` and ``build_object``."""

from clip_surgery_ros.world import (
    objects_food,
    objects_household,
    objects_kitchen,
    objects_office,
    objects_solids,
    objects_tools,
)
from clip_surgery_ros.world.catalogue import KINDS, build_object

__all__ = [
    "KINDS",
    "NAMES",
    "build_object",
    "objects_food",
    "objects_household",
    "objects_kitchen",
    "objects_office",
    "objects_solids",
    "objects_tools",
]

NAMES = tuple(KINDS)
"""Names of all objects, in the order of the table."""
