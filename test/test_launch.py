"""The launch files with real processes, where launch is installed, and the rviz file."""

import ast
import dataclasses
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import rviz_jazzy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from ros.harness import ROOT, START_S, Process, call, wait_until
from sensor_msgs.msg import Image

from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS

PICTURES = ("overlay", "heatmap", "mask", "confidence")
WITHOUT_LAUNCH = (
    "launch, launch_ros and ros2cli are in no package index and come with ROS from apt alone: "
    "the launch files are tested on a machine with that"
)
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))


@pytest.fixture
def launch():
    """Start launch files as ``ros2 launch`` does; stop them after the test."""
    pytest.importorskip("launch_ros", reason=WITHOUT_LAUNCH)
    started = []

    def start(file, *arguments, environment=None):
        runner = (str(ROOT / "test" / "ros" / "launch_file.py"), str(ROOT / "launch" / file))
        started.append(Process(*runner, *arguments, environment=environment))
        return started[-1]

    yield start
    for process in started:
        # SIGKILL to the launch process would not stop its nodes.
        if process.alive:
            process.signal(signal.SIGINT)
            process.wait()
        process.__exit__()


@pytest.fixture
def parameter_file(tmp_path):
    def write(**parameters):
        path = tmp_path / "parameters.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        return f"params:={path}"

    return write


@pytest.fixture
def stand_in(tmp_path):
    """Give an environment with a stand-in executable that prints its arguments."""

    def make(package, executable):
        index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        (index / package).touch()
        program = tmp_path / "lib" / package / executable
        program.parent.mkdir(parents=True)
        program.write_text(
            f"#!/bin/sh\necho {package} arguments: $*\n"
            'for word; do [ "${word#/tmp/launch_params}" = "$word" ] || cat "$word"; done\n'
            "exec sleep 1000\n"
        )
        program.chmod(0o755)
        return {"AMENT_PREFIX_PATH": f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}"}

    return make


def stop(process):
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    assert "Traceback" not in process.text()


def state_of(node, name="/clip_surgery"):
    return call(
        node, GetState, f"{name}/get_state", GetState.Request(), START_S
    ).current_state.label


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_launch_argument_has_a_description_and_a_default(path):
    pytest.importorskip("launch_ros", reason=WITHOUT_LAUNCH)
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(path))
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert {"namespace", "params", "query"} <= set(arguments)
    for name, argument in arguments.items():
        assert argument.default_value is not None, name
        assert argument.description and "no description" not in argument.description, name


def test_launch_arguments_override_the_parameter_file(launch, parameter_file, stand_in):
    arguments = ("namespace:=robot", "image:=front/image", "query:=7; saw", "rviz:=true")
    arguments += ("depth:=front/depth", "target_frame:=base_link")
    file = parameter_file(default_query="drill", image_transport="compressed", device="cpu")
    process = launch(
        "clip_surgery.launch.py", *arguments, file, environment=stand_in("rviz2", "rviz2")
    )
    process.wait_for_line("[robot.clip_surgery]: query 1: 7; saw", START_S)
    process.wait_for_line("images from /robot/front/image/compressed", START_S)
    line = process.wait_for_line("rviz2 arguments").split()
    assert str(Path("config") / "clip_surgery.rviz") in line[line.index("-d") + 1]
    assert "__ns:=/robot" in line and "/image_raw:=front/image" in line
    assert line[line.index("-f") + 1].strip("[]',") == "base_link"
    assert "/clip_surgery/overlay:=clip_surgery/overlay" in line
    stop(process)


def test_invalid_argument_value_ends_the_node_with_an_error(launch):
    process = launch("clip_surgery.launch.py", "device:=gpu", "image_transport:=raw")
    process.wait_for_line("device is 'gpu', but must be auto, cpu or cuda:N", START_S)
    assert process.wait() == 0


@pytest.mark.parametrize("file", ["clip_surgery.launch.py", "lifecycle.launch.py"])
@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("params:=/nowhere.yaml", "parameter file /nowhere.yaml does not exist, or is no file"),
        ("params:=/", "parameter file / does not exist, or is no file"),
        ("fastdds_profile:=/nowhere.xml", "fastdds_profile /nowhere.xml does not exist"),
    ],
)
def test_missing_file_ends_the_launch_with_an_error(launch, file, argument, error):
    process = launch(file, argument)
    process.wait_for_line(error, START_S)
    assert process.wait() != 0
    assert "[clip_surgery]" not in process.text(), "the node ran with defaults"


def test_parameter_file_of_another_node_ends_the_node_with_an_error(launch, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text("/robot/clip_surgery: {ros__parameters: {clip_model: openai/ViT-B-16}}\n")
    process = launch("clip_surgery.launch.py", f"params:={path}")
    process.wait_for_line("is for /robot/clip_surgery and sets nothing of /clip_surgery", START_S)
    assert process.wait() == 0


def test_cameras_launch_file_starts_one_node_for_all_cameras(launch, ros_node, stand_in):
    process = launch(
        "cameras.launch.py",
        "cameras:=/left/image_raw back:=rear/image",
        "namespace:=robot",
        "rviz:=true",
        environment=stand_in("rviz2", "rviz2"),
    )
    process.wait_for_line("images from /left/image_raw, /robot/rear/image", START_S)
    for topic in ("left/segments", "back/segments", "back/overlay", "active_query"):
        wait_until(lambda t=topic: ros_node.count_publishers(f"/robot/clip_surgery/{t}") == 1)
    assert ros_node.count_publishers("/robot/clip_surgery/segments") == 0
    line = process.wait_for_line("rviz2 arguments").split()
    assert "/clip_surgery/mask:=clip_surgery/left/mask" in line
    assert "/image_raw:=/left/image_raw" in line
    stop(process)


def test_cameras_launch_file_starts_separate_nodes(launch, ros_node):
    process = launch(
        "cameras.launch.py",
        "cameras:=/left/image_raw back:=rear/image",
        "namespace:=robot",
        "separate:=true",
        "query:=saw",
    )
    for name, topic in (("left", "/left/image_raw"), ("back", "/robot/rear/image")):
        process.wait_for_line(f"[robot.{name}.clip_surgery]: query 1: saw", START_S)
        line = process.wait_for_line(f"images from {topic}", START_S)
        assert f"[robot.{name}.clip_surgery]" in line
        segments = f"/robot/{name}/clip_surgery/segments"
        wait_until(lambda t=segments: ros_node.count_publishers(t) == 1)
    stop(process)


def test_invalid_camera_name_ends_the_launch_with_an_error(launch):
    process = launch("cameras.launch.py", "cameras:=front:=/a/image 7:=/b/image")
    process.wait_for_line("'7' is no name for a camera", START_S)
    assert process.wait() != 0


def test_lifecycle_launch_file_activates_the_node(launch, ros_node):
    process = launch("lifecycle.launch.py", "namespace:=robot")
    process.wait_for_line("[robot.clip_surgery]: active on", START_S)
    assert state_of(ros_node, "/robot/clip_surgery") == "active"
    stop(process)


def test_failed_configure_is_reported_and_can_be_repeated(launch, ros_node, parameter_file):
    file = parameter_file(sam_model="vit_b", sam_checkpoint="/nowhere/sam.pth", device="cpu")
    process = launch("lifecycle.launch.py", file)
    process.wait_for_line("/nowhere/sam.pth does not exist", START_S)
    process.wait_for_line("try again: ros2 lifecycle set /clip_surgery configure")
    assert state_of(ros_node) == "unconfigured"

    corrected = [Parameter("sam_model", value="demo"), Parameter("sam_checkpoint", value="")]
    parameters = [parameter.to_parameter_msg() for parameter in corrected]
    service = "/clip_surgery/set_parameters_atomically"
    changed = call(
        ros_node,
        SetParametersAtomically,
        service,
        SetParametersAtomically.Request(parameters=parameters),
    )
    assert changed.result.successful, changed.result.reason
    configure = Transition(id=Transition.TRANSITION_CONFIGURE)
    change = "/clip_surgery/change_state"
    assert call(
        ros_node, ChangeState, change, ChangeState.Request(transition=configure), START_S
    ).success
    # The launch file activates the node after the manual configure.
    wait_until(lambda: state_of(ros_node) == "active")
    # After a manual deactivate it does not.
    deactivate = Transition(id=Transition.TRANSITION_DEACTIVATE)
    assert call(
        ros_node, ChangeState, change, ChangeState.Request(transition=deactivate), START_S
    ).success
    assert state_of(ros_node) == "inactive"
    stop(process)


def test_nav2_manager_gets_the_node_name_and_no_bond(launch, ros_node, stand_in):
    process = launch(
        "lifecycle.launch.py",
        "manager:=nav2",
        "namespace:=robot",
        environment=stand_in("nav2_lifecycle_manager", "lifecycle_manager"),
    )
    line = process.wait_for_line("nav2_lifecycle_manager arguments").split()
    assert "__ns:=/robot" in line
    process.wait_for_line("- clip_surgery", START_S)
    process.wait_for_line("bond_timeout: 0.0")
    assert state_of(ros_node, "/robot/clip_surgery") == "unconfigured"
    stop(process)


def table(file, name):
    """Return a literal table of a launch file; names in it, such as CONFIG, become their text.

    The files import launch, so they are parsed, not imported.
    """
    tree = ast.parse((ROOT / "launch" / file).read_text())
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return {
        ast.literal_eval(key): entry for key, entry in zip(value.keys, value.values, strict=True)
    }


def test_depth_arguments_set_parameters_of_the_node():
    """Without launch: what the tables of the launch file say."""
    file = "clip_surgery.launch.py"
    arguments, parameters = table(file, "ARGUMENTS"), table(file, "PARAMETERS")
    fields = {field.name: field for field in dataclasses.fields(Config)}
    assert {"image", "image_topics", "depth", "target_frame", "tracking"} <= set(arguments)
    assert set(parameters) <= set(arguments)
    for argument, entry in parameters.items():
        if argument == "use_sim_time":  # of every node, not of the table
            continue
        parameter, kind = entry.elts
        default = getattr(Config(), ast.literal_eval(parameter))
        assert type(default).__name__ == ast.unparse(kind), argument
    for argument in ("depth", "target_frame", "image_topics"):
        default, text = map(ast.literal_eval, arguments[argument].elts)
        assert default == "" and text, "an empty argument leaves the parameter file in force"
    assert {"depth_topics", "target_frame"} <= set(fields)
    source = (ROOT / "launch" / file).read_text()
    assert 'overrides["depth_topics"] = depth' in source
    (shown,) = re.findall(r"^SHOWN = (\(.*?\))$", source, re.M)
    assert set(ast.literal_eval(shown)) == {*PICTURES, "markers", "points", "background_points"}


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_arguments_that_the_pages_name_are_declared(path):
    # The other files include this one, and its arguments are theirs.
    arguments = set(table("clip_surgery.launch.py", "ARGUMENTS"))
    arguments |= set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', path.read_text()))
    page = "".join(
        text.read_text() for text in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    ).replace("\\\n", " ")
    commands = re.findall(rf"ros2 launch clip_surgery_ros {path.name}(.*)", page)
    # In quotes is a value, and after a backquote the sentence goes on.
    words = [re.sub(r'"[^"]*"', "", command.partition("`")[0]) for command in commands]
    named = {name for text in words for name in re.findall(r"(\w+):=", text)}
    assert named <= arguments


def displays():
    config = yaml.safe_load((ROOT / "config" / "clip_surgery.rviz").read_text())
    return {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}


def topics_shown():
    return {
        display["Topic"]["Value"]: display for display in displays().values() if "Topic" in display
    }


def test_rviz_displays_show_topics_of_the_node_of_their_types():
    types = {f"/clip_surgery/{o.name}": o.message_type for o in (*OUTPUTS, *SPACE_OUTPUTS)}
    types["/image_raw"] = Image
    shown = topics_shown()
    for topic, display in shown.items():
        assert display["Class"] == f"rviz_default_plugins/{types[topic].__name__}", topic
    names = (*PICTURES, "markers", "points", "background_points")
    assert set(shown) == {"/image_raw", *(f"/clip_surgery/{name}" for name in names)}


def test_rviz_qos_matches_every_publisher():
    # A best-effort, volatile reader matches every publisher.
    for topic, display in topics_shown().items():
        assert display["Topic"]["Reliability Policy"] == "Best Effort", topic
        assert display["Topic"]["Durability Policy"] == "Volatile", topic


def test_rviz_knows_every_class_and_property():
    config = yaml.safe_load((ROOT / "config" / "clip_surgery.rviz").read_text())
    manager = config["Visualization Manager"]
    assert [panel["Class"] for panel in config["Panels"]] == ["rviz_common/Displays"]
    assert {tool["Class"] for tool in manager["Tools"]} <= rviz_jazzy.TOOLS
    assert set(manager["Global Options"]) <= rviz_jazzy.GLOBAL_OPTIONS
    view = manager["Views"]["Current"]
    for entry in (*manager["Displays"], view):
        known = {"Class", "Name", *rviz_jazzy.PROPERTIES[entry["Class"]]}
        if entry is not view:
            known |= rviz_jazzy.OF_EVERY_DISPLAY
        assert set(entry) <= known, entry["Name"]
        assert set(entry.get("Topic", ())) <= {"Value", *rviz_jazzy.TOPIC}, entry["Name"]
        for name, values in rviz_jazzy.CHOICES.items():
            assert entry.get(name, values[0]) in values, entry["Name"]
        assert entry.get("Enabled") == entry.get("Value"), "rviz saves both alike"


def greys_of_rviz(frames, display):
    """Compute what rviz's image display shows of float images: (H, W) uint8 each.

    As in ros_image_texture.cpp of rviz_default_plugins 14 (Jazzy): the limits of the scale become
    unsigned 16-bit integers, except those of a single frame.
    """
    window, lows, highs, shown = display["Median window"], [], [], []
    for frame in frames:
        low, high = float(frame.min()), float(frame.max())
        lows, highs = [low, *lows][: max(window, 1)], [high, *highs][: max(window, 1)]
        if not display["Normalize Range"]:
            low, high = int(display["Min Value"]), int(display["Max Value"])
        elif window > 1:
            low, high = (int(sorted(ends)[len(ends) // 2]) for ends in (lows, highs))
        scaled = (frame - low) / (high - low) if high > low else np.zeros_like(frame)
        shown.append((scaled.clip(0, 1) * 255).astype(np.uint8))
    return shown


@pytest.mark.parametrize("highest", [0.02, 0.3, 1.0])
def test_rviz_shows_heatmaps_in_the_full_grey_range(highest):
    ramp = np.linspace(0, highest, 60, dtype=np.float32).reshape(6, 10)
    display = displays()["Heatmap"]
    for grey in greys_of_rviz([ramp] * 6, display):
        assert grey[0, 0] == 0 and grey[-1, -1] == 255 and len(np.unique(grey)) == 60
    # With rviz's default settings such a map is black.
    if highest < 1:
        (*_, black) = greys_of_rviz([ramp] * 6, {**display, "Median window": 5})
        assert not black.any()
