"""Parameters of a running node: accepted and rejected changes, response time, and QoS."""

import time
from statistics import median

import pytest
from clip_surgery_ros.msg import SegmentArray
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from ros.harness import CAMERA, NODE, START_S, Inbox, Process, call, client_of
from ros.rig import wait_readers

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.config import PARAMETERS
from clip_surgery_ros.ros.outputs import OUTPUTS

IN = {"/image_raw", "/query", "/clip_surgery/text_query"}
OUT = {f"/clip_surgery/{output.name}" for output in OUTPUTS} | {
    "/clip_surgery/active_query",
    "/clip_surgery/label_info",
    "/diagnostics",
}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("presence_threshold", 1.5, "presence_threshold"),
        ("presence_threshold", float("nan"), "out of range"),
        ("presence_threshold", "high", "Wrong parameter type"),
        ("threshold", 3.0, "cosine"),
        ("recipe", "many", "one of reference, instances"),
        ("device", "cpu", "deactivate the node"),
        ("image_topics", ["a", "b"], "deactivate the node"),
        ("autostart", False, "read-only"),
        ("nonsense", 1, "undeclared"),
    ],
)
def test_rejected_change_has_a_reason_and_no_effect(active, name, value, reason):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("before")
    segments.wait()
    before = active.node.get_parameters([entry.name for entry in PARAMETERS])
    result = active.set(name, value)
    assert not result.successful and reason in result.reason, result.reason
    after = active.node.get_parameters([entry.name for entry in PARAMETERS])
    assert [str(entry.value) for entry in after] == [str(entry.value) for entry in before]
    active.show("after")
    segments.wait_count(2)
    assert len(active.networks.configs) == 1, "the engine was rebuilt"


@pytest.mark.parametrize("kind", [SetParameters, SetParametersAtomically])
def test_integer_is_accepted_for_a_float_parameter(active, kind):
    request = kind.Request(parameters=[Parameter("max_rate_hz", value=2).to_parameter_msg()])
    names = {SetParameters: "set_parameters", SetParametersAtomically: "set_parameters_atomically"}
    answer = active.call(kind, names[kind], request)
    result = answer.results[0] if kind is SetParameters else answer.result
    assert result.successful, result.reason
    assert active.node.get_parameter("max_rate_hz").value == 2.0
    assert not active.set("max_rate_hz", 2000).successful
    assert not active.set("max_rate_hz", True).successful
    assert not active.set("min_area", 2.0).successful, "a float for an integer parameter"
    assert active.node.get_parameter("min_area").value == 16


def test_atomic_change_with_an_invalid_value_changes_nothing(active):
    request = SetParametersAtomically.Request(
        parameters=[
            Parameter("min_area", value=99).to_parameter_msg(),
            Parameter("recipe", value="many").to_parameter_msg(),
        ]
    )
    answer = active.call(SetParametersAtomically, "set_parameters_atomically", request)
    assert not answer.result.successful
    assert active.node.get_parameter("min_area").value == 16


def test_set_parameters_is_answered_during_inference(ros_node):
    """Nine in ten answers take less than 0.2 s, or half of an inference on a busy machine.

    The slowest tenth may exceed the limit, because a machine sometimes stalls.
    """
    camera = Process(*CAMERA, "--rate", "30", "--size", "640x480")
    with camera, Process(*NODE, "-p", "default_query:=red apple; hammer; car") as node:
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        node.wait_for_line("active on", START_S)
        segments.wait_count(3, START_S)
        before, seconds = len(segments.messages), []
        client = client_of(ros_node, SetParameters, "/clip_surgery/set_parameters")
        assert client.wait_for_service(START_S)
        while len(segments.messages) < before + 5 or len(seconds) < 20:
            value = 0.4 + 0.001 * (len(seconds) % 100)
            request = SetParameters.Request(
                parameters=[Parameter("presence_threshold", value=value).to_parameter_msg()]
            )
            start_s = time.monotonic()
            answer = call(ros_node, SetParameters, "/clip_surgery/set_parameters", request)
            seconds.append(time.monotonic() - start_s)
            assert answer.results[0].successful
        seconds.sort()
        inference_s = median(sum(message.stage_seconds) for message in segments.messages)
        print(
            f"inference {inference_s:.3f} s, {len(seconds)} calls, "
            f"median {seconds[len(seconds) // 2]:.4f} s, "
            f"p90 {seconds[int(0.9 * len(seconds))]:.4f} s, maximum {seconds[-1]:.4f} s"
        )
        assert seconds[int(0.9 * len(seconds))] < max(0.2, 0.5 * inference_s)


def test_every_topic_has_qos_override_parameters(rig):
    assert rig.change(1) and rig.change(3)
    names = {name for name in rig.node._parameters if name.startswith("qos_overrides./")}
    topics = {name.removeprefix("qos_overrides.").rsplit(".", 2)[0] for name in names}
    # /clock and the topics of rclpy have overrides too.
    assert topics >= IN | OUT
    for policy in ("reliability", "durability", "history", "depth"):
        assert f"qos_overrides./image_raw.subscription.{policy}" in names


def test_qos_overrides_reach_the_middleware(rigs):
    rig = rigs(
        **{
            "qos_overrides./image_raw.subscription.reliability": "reliable",
            "qos_overrides./clip_surgery/mask.publisher.reliability": "best_effort",
        }
    )
    rig.activate()
    (reader,) = rig.node.get_subscriptions_info_by_topic("/image_raw")
    (writer,) = rig.node.get_publishers_info_by_topic("/clip_surgery/mask")
    assert reader.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert writer.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    # The override also applies after a second activate.
    assert rig.change(4) and rig.change(3)
    (reader,) = rig.node.get_subscriptions_info_by_topic("/image_raw")
    assert reader.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_invalid_qos_override_is_a_config_error(rigs):
    with pytest.raises(ConfigError, match="qos_overrides of topic 'query'"):
        rigs(**{"qos_overrides./query.subscription.reliability": "perhaps"})
