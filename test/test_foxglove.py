"""The layout for Foxglove, against Foxglove's own definitions of panels and the node's topics."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import foxglove.layouts as fl
import pytest
from clip_surgery_ros.msg import TextQuery
from diagnostic_msgs.msg import DiagnosticArray
from ros.harness import ROOT
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from clip_surgery_ros.ros.endpoints import type_name
from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS, TRACKS

LAYOUT = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
PANELS = {
    "3D": fl.ThreeDeeConfig,
    "DiagnosticSummary": fl.DiagnosticsSummaryConfig,
    "Image": fl.ImageConfig,
    "Plot": fl.PlotConfig,
    "Publish": fl.PublishConfig,
    "RawMessages": fl.RawMessagesConfig,
    "Table": fl.TableConfig,
}
"""Types of panels in files of layouts, as packages/suite-base/src/panels/index.ts of Lichtblick
names them, which reads Foxglove's files (commit 66adecb), and foxglove-sdk's settings of each."""
TITLE = "foxglovePanelTitle"
TOPICS = {
    **{f"/clip_surgery/{each.name}": each.message_type for each in (*OUTPUTS, *SPACE_OUTPUTS)},
    "/clip_surgery/tracks": TRACKS.message_type,
    "/clip_surgery/active_query": TextQuery,
    "/diagnostics": DiagnosticArray,
    "/image_raw": Image,
    "/camera_info": CameraInfo,
    "/query": String,
}
"""Of a node without a namespace, with one camera that has no name."""
TOPIC_SETTINGS = {
    MarkerArray: fl.BaseRendererRosMarkerTopicSettings,
    PointCloud2: fl.BaseRendererPointCloudTopicSettings,
}


def panels(kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: config
        for name, config in LAYOUT["configById"].items()
        if name.partition("!")[0] == kind
    }


def problems(value: Any, hint: Any, where: str) -> Iterator[str]:
    """Yield how a value of JSON differs from a type of foxglove-sdk."""
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        yield from problems_of_fields(value, hint, where)
    elif origin in (Union, UnionType):
        found = [[*problems(value, each, where)] for each in arguments if each is not NoneType]
        if all(found):
            yield from min(found, key=len)
    elif origin is Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is none of {arguments}"
    elif origin in (list, tuple, dict):
        if not isinstance(value, dict if origin is dict else list):
            yield f"{where}: {value!r} is no {origin.__name__}"
        elif origin is tuple and len(value) != len(arguments):
            yield f"{where}: {len(value)} values, not {len(arguments)}"
        else:
            items = value.items() if origin is dict else enumerate(value)
            for key, each in items:
                yield from problems(each, arguments[-1], f"{where}.{key}")
    elif hint is not Any:
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            yield f"{where}: {value!r} is no {hint.__name__}"


def problems_of_fields(value: Any, kind: type, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
        return
    hints = {camel(name): hint for name, hint in get_type_hints(kind, vars(fl)).items()}
    for key, each in value.items():
        if key not in hints:
            yield f"{where}: {kind.__name__} has no {key!r}"
        elif key not in ("topics", "layers"):  # their types depend on the topic or the layer
            yield from problems(each, hints[key], f"{where}.{key}")


def camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def problems_of_layout() -> list[str]:
    found = []
    for name, config in LAYOUT["configById"].items():
        kind = PANELS[name.partition("!")[0]]
        own = {key: value for key, value in config.items() if key != TITLE}
        found += problems(own, kind, name)
        for topic, settings in config.get("topics", {}).items():
            found += problems(settings, TOPIC_SETTINGS[TOPICS[topic]], f"{name} {topic}")
        for layer in config.get("layers", {}).values():
            assert layer["layerId"] == fl.BaseRendererGridLayerSettings()._to_dict()["layerId"]
            found += problems(layer, fl.BaseRendererGridLayerSettings, name)
    return found


def test_every_setting_is_one_of_foxglove() -> None:
    assert problems_of_layout() == []


@pytest.mark.parametrize(
    ("panel", "key", "value"),
    [
        ("Plot!times", "legendDisplay", "below"),
        ("Plot!times", "isSynced", 1),
        ("Publish!query", "topic", "/query"),
        ("3D!space", "cameraState", {"target": [0, 0]}),
    ],
)
def test_a_setting_that_foxglove_has_not_is_noticed(panel, key, value, monkeypatch) -> None:
    monkeypatch.setitem(LAYOUT["configById"][panel], key, value)
    (problem,) = problems_of_layout()
    assert problem.startswith(panel)


def leaves(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    assert node["direction"] in ("row", "column") and 0 < node["splitPercentage"] < 100
    return leaves(node["first"]) + leaves(node["second"])


def test_every_panel_is_shown_once() -> None:
    assert sorted(leaves(LAYOUT["layout"])) == sorted(LAYOUT["configById"])


def test_pictures_and_the_scene_are_topics_of_the_node_of_the_right_type() -> None:
    for config in panels("Image").values():
        mode = config["imageMode"]
        assert TOPICS[mode["imageTopic"]] is Image
        assert TOPICS[mode.get("calibrationTopic", "/camera_info")] is CameraInfo
    shown = {mode["imageMode"]["imageTopic"] for mode in panels("Image").values()}
    assert shown == {"/image_raw", "/clip_surgery/overlay", "/clip_surgery/heatmap"}
    (scene,) = panels("3D").values()
    assert {TOPICS[topic] for topic in scene["topics"]} == {MarkerArray, PointCloud2}


def test_the_publish_panel_sends_a_query() -> None:
    (config,) = panels("Publish").values()
    assert config["datatype"] == type_name(TOPICS[config["topicName"]])
    String(**json.loads(config["value"]))


def message_paths() -> list[str]:
    tables = [*panels("Table").values(), *panels("RawMessages").values()]
    series = [each for plot in panels("Plot").values() for each in plot["paths"]]
    health = [each["topicToRender"] for each in panels("DiagnosticSummary").values()]
    return [*(e["topicPath"] for e in tables), *(e["value"] for e in series), *health]


@pytest.mark.parametrize("path", message_paths())
def test_every_message_path_is_one_of_the_topics_message(path) -> None:
    topic, *fields = re.sub(r"\[:\]|\{[^}]*\}", "", path).split(".")
    kind: Any = TOPICS[topic]
    for field in fields:
        name = kind.get_fields_and_field_types()[field]
        value = getattr(kind(), field)
        if isinstance(value, list):
            package, _, message = name.removeprefix("sequence<").rstrip(">").partition("/")
            kind = getattr(__import__(f"{package}.msg", fromlist=[message]), message)
        else:
            kind = type(value)
    assert kind not in (int, dict)


def test_the_plotted_diagnostics_are_those_of_the_stages() -> None:
    source = "".join(path.read_text() for path in (ROOT / "clip_surgery_ros/core").glob("*.py"))
    stages = set(re.findall(r'clock\.stage\("([a-z ]+)"\)', source))
    (plot,) = (p for p in panels("Plot").values() if "/diagnostics" in p["paths"][0]["value"])
    for series in plot["paths"]:
        match = re.search(r'key=="(.*): p50 \[s\]"', series["value"])
        assert match and match[1] in stages and match[1] == series["label"]
