"""The underlay's vision_msgs are, on the wire, the real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

REAL: dict[str, list[tuple[str, str]]] = {
    "Point2D": [("x", "double"), ("y", "double")],
    "Pose2D": [("position", "vision_msgs/msg/Point2D"), ("theta", "double")],
    "BoundingBox2D": [
        ("center", "vision_msgs/msg/Pose2D"), ("size_x", "double"), ("size_y", "double"),
    ],
    "ObjectHypothesis": [("class_id", "string"), ("score", "double")],
    "ObjectHypothesisWithPose": [
        ("hypothesis", "vision_msgs/msg/ObjectHypothesis"),
        ("pose", "geometry_msgs/msg/PoseWithCovariance"),
    ],
    "Detection2D": [
        ("header", "std_msgs/msg/Header"),
        ("results", "vision_msgs/msg/ObjectHypothesisWithPose[]"),
        ("bbox", "vision_msgs/msg/BoundingBox2D"),
        ("id", "string"),
    ],
    "Detection2DArray": [
        ("header", "std_msgs/msg/Header"), ("detections", "vision_msgs/msg/Detection2D[]"),
    ],
    "Classification": [
        ("header", "std_msgs/msg/Header"), ("results", "vision_msgs/msg/ObjectHypothesis[]"),
    ],
    "VisionClass": [("class_id", "uint16"), ("class_name", "string")],
    "LabelInfo": [
        ("header", "std_msgs/msg/Header"),
        ("class_map", "vision_msgs/msg/VisionClass[]"),
        ("threshold", "float"),
    ],
}  # fmt: skip
"""Names, types and order of fields in vision_msgs 4: with the type's name, they are what its
RIHS01 hash is made of (REP 2016)."""

KINDS = {3: "uint8", 6: "int32", 4: "uint16", 5: "uint16", 10: "float", 11: "double", 17: "string"}
NESTED, UNBOUNDED_SEQUENCE = 1, 144


def share() -> Path:
    for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep):
        if (Path(prefix) / "share" / "vision_msgs" / "msg").is_dir():
            return Path(prefix) / "share" / "vision_msgs" / "msg"
    raise AssertionError("vision_msgs is in no prefix of AMENT_PREFIX_PATH")


@pytest.mark.parametrize("name", sorted(REAL))
def test_type_and_fields_are_those_of_vision_msgs_4(name: str) -> None:
    described = json.loads((share() / f"{name}.json").read_text())
    kind = described["type_description_msg"]["type_description"]
    assert kind["type_name"] == f"vision_msgs/msg/{name}"
    fields = [(field["name"], _type(field["type"])) for field in kind["fields"]]
    assert fields == REAL[name]
    assert described["type_hashes"][0]["hash_string"].startswith("RIHS01_")


def _type(described: dict) -> str:
    number = described["type_id"]
    if number >= UNBOUNDED_SEQUENCE:
        return _type({**described, "type_id": number - UNBOUNDED_SEQUENCE}) + "[]"
    return described["nested_type_name"] if number == NESTED else KINDS[number]
