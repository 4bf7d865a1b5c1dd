"""The underlay's message types equal those of the original packages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

VISION_MSGS = {
    "BoundingBox2D": "008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    "BoundingBox3D": "bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    "Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "Detection2D": "0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "Detection3D": "ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    "Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "ObjectHypothesis": "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "ObjectHypothesisWithPose": "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "Point2D": "eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
    "Pose2D": "b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    "VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
}
TF2_MSGS = {
    "TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
}
HASHES = {
    **{f"vision_msgs/msg/{name}": text for name, text in VISION_MSGS.items()},
    **{f"tf2_msgs/msg/{name}": text for name, text in TF2_MSGS.items()},
}
"""RIHS01 hashes of vision_msgs 4 and of Jazzy's tf2_msgs, from public builds of the packages.
DDS compares types by these hashes. A hash depends on the type's name and on names, types and order
of its fields, including nested types."""
UNDERLAY = Path(__file__).resolve().parent.parent / "underlay"


def description_file(name: str) -> Path:
    """Return the description of a message in the installed package, original or underlay."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        path = Path(prefix) / "share" / f"{name}.json"
        if path.is_file():
            return path
    raise AssertionError(f"{name} is in none of {prefixes}")


@pytest.mark.parametrize("name", sorted(HASHES))
def test_message_type_has_the_hash_of_the_original(name: str) -> None:
    types = json.loads(description_file(name).read_text())["type_hashes"]
    hashes = {entry["type_name"]: entry["hash_string"] for entry in types}
    assert hashes[name] == f"RIHS01_{HASHES[name]}"


def test_underlay_has_only_these_message_types() -> None:
    files = {path.relative_to(UNDERLAY).with_suffix("") for path in UNDERLAY.glob("*/msg/*.msg")}
    assert {path.as_posix() for path in files} == set(HASHES)
