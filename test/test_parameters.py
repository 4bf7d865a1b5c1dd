"""ROS parameters agree with the table of parameters."""

import math
from dataclasses import replace

import pytest
import yaml
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter as RosParameter
from ros.harness import ROOT

from clip_surgery_ros.parameters.config import PARAMETERS, Config
from clip_surgery_ros.ros.parameters import NETWORK_PARAMETERS, NodeParameters, same_networks

FILES = sorted((ROOT / "config").glob("*.yaml"))
TYPES = {
    str: ParameterType.PARAMETER_STRING,
    float: ParameterType.PARAMETER_DOUBLE,
    int: ParameterType.PARAMETER_INTEGER,
    bool: ParameterType.PARAMETER_BOOL,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
}


class DeclaredParameters:
    """Parameters declared on a plain node, and the reported changes."""

    def __init__(self, node):
        self.node = node
        self.fixed = False
        self.changes = []
        self.parameters = NodeParameters(
            node, lambda: self.fixed, lambda config, names: self.changes.append((config, names))
        )

    def set(self, **values):
        parameters = [RosParameter(name, value=value) for name, value in values.items()]
        return self.node.set_parameters_atomically(parameters)


@pytest.fixture
def declared(ros_node):
    return DeclaredParameters(ros_node)


@pytest.mark.parametrize("entry", PARAMETERS, ids=lambda entry: entry.name)
def test_every_parameter_is_declared_with_type_default_and_help(entry, declared):
    described = declared.node.describe_parameter(entry.name)
    assert described.type == TYPES[type(entry.default)]
    assert described.description == entry.help
    value = declared.node.get_parameter(entry.name).value
    expected = list(entry.default) if isinstance(entry.default, tuple) else entry.default
    assert value == expected or (math.isnan(value) and math.isnan(entry.default))
    for choice in entry.choices:
        assert choice in described.additional_constraints
    assert described.read_only == entry.read_only
    fixed = "fixed" in described.additional_constraints
    assert [fixed, entry.live, entry.read_only].count(True) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("presence_threshold", 1.5), ("max_rate_hz", -1.0), ("min_area", 0)]
)
def test_value_out_of_range_is_rejected(name, value, declared):
    outcome = declared.set(**{name: value})
    assert not outcome.successful and name in outcome.reason
    assert declared.changes == []


def test_value_that_is_no_choice_is_rejected_with_the_choices(declared):
    outcome = declared.set(recipe="guess")
    assert not outcome.successful
    assert "'guess'" in outcome.reason and "reference" in outcome.reason


def test_values_that_depend_on_each_other_must_be_set_together(declared):
    outcome = declared.set(clip_model="ViT-B-16")
    assert not outcome.successful and "clip_checkpoint" in outcome.reason
    assert declared.set(clip_model="ViT-B-16", clip_checkpoint="clip.pt").successful
    assert declared.parameters.config.clip_model == "ViT-B-16"


def test_change_updates_the_config_and_is_reported(declared):
    assert declared.set(presence_threshold=0.25, min_area=4).successful
    config = declared.parameters.config
    assert (config.presence_threshold, config.min_area) == (0.25, 4)
    assert declared.changes == [(config, {"presence_threshold", "min_area"})]


def test_fixed_parameter_is_rejected_only_while_fixed(declared):
    declared.fixed = True
    outcome = declared.set(device="cpu")
    assert not outcome.successful and "'device' is fixed" in outcome.reason
    assert declared.set(presence_threshold=0.25).successful
    assert declared.set(device="auto").successful, "the value is unchanged"
    declared.fixed = False
    assert declared.set(device="cpu").successful


def test_parameters_of_rclpy_are_accepted(declared):
    assert declared.set(use_sim_time=True).successful
    assert declared.changes == []


def test_configs_that_differ_in_live_parameters_share_networks():
    config = Config.from_values()
    assert same_networks(config, replace(config, min_area=99, threshold=0.5))
    assert not same_networks(config, replace(config, device="cpu"))


def test_network_parameters_are_the_fixed_ones_that_networks_use():
    of_node = {"image_topics", "image_transport", "autostart"}
    of_node |= {"depth_topics", "depth_transport", "camera_info_topics", "depth_info_topics"}
    of_node |= {"publish_tf", "tracking"}
    fixed = {entry.name for entry in PARAMETERS if not entry.live}
    assert set(NETWORK_PARAMETERS) == fixed - of_node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_parameter_file_is_valid(path):
    names = {entry.name for entry in PARAMETERS}
    defaults = {entry.name: entry.default for entry in PARAMETERS}
    (content,) = yaml.safe_load(path.read_text()).values()
    values = content["ros__parameters"]
    assert values and set(values) <= names
    config = Config.from_values({**defaults, **values})
    accepted = {name: getattr(config, name) for name in values}
    lists = {name: list(value) for name, value in accepted.items() if isinstance(value, tuple)}
    assert {**accepted, **lists} == values


def test_misspelt_parameter_warns_and_unknown_ones_are_accepted(rigs, capfd):
    rigs(presence_treshold=0.25, frame_rate=30.0)
    log = capfd.readouterr().err
    assert "there is no parameter 'presence_treshold'; is 'presence_threshold' meant?" in log
    assert "frame_rate" not in log
