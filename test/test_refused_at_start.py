"""Invalid parameters and arguments at start: the node prints one error and ends with status 2."""

from queue import SimpleQueue

import pytest
from rclpy.parameter import Parameter
from ros.harness import NODE, START_S, Process

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.node.program import run
from clip_surgery_ros.ros.arguments import check_files_apply, check_parameter_file

DIGITS = "0123456789" * 6 + "0123"
IMAGES, QUERY = "qos_overrides./image_raw.subscription", "qos_overrides./query.subscription"
INVALID = [
    ("default_query:=7", "'default_query' wants str, got 7; YAML takes digits"),
    ("default_query:=off", "'default_query' wants str, got False; YAML takes"),
    ("default_query:=1e3", "'default_query' wants str, got 1000.0;"),
    ("default_query:=[mug, saw]", "wants str, got ['mug', 'saw']; write one value"),
    ("default_query:=[]", "wants str, got an empty list; write one value"),
    ("default_query:=null", "'default_query' is null, and ROS parameters have no null"),
    ("clip_checkpoint:=~", "'clip_checkpoint' is ~, and ROS parameters have no null"),
    (f"clip_sha256:={DIGITS}", "-p \"clip_sha256:='...'\" on a command line"),
    ("sam_sha256:=12345678", "sam_sha256: '...' in a file"),
    ("image_topics:=/x", "wants a list of str, got '/x'; write a list of one: ['/x']"),
    ("image_topics:=[]", "image_topics is empty; name at least one"),
    ("image_topics:=[1, 2]", "wants a list of str, got [1, 2]; quote each"),
    ("image_topics:=[null]", "'image_topics' is null"),
    ("image_topics:=[a, 2]", "image_topics:=[a, 2]'. Error: Sequence should be of same type"),
    ("templates:=single", "'templates' wants a list of str, got 'single'; write a list of one"),
    ("max_rate_hz:='2'", "'max_rate_hz' wants float, got '2'; write a number, without quotes"),
    ("max_rate_hz:=true", "'max_rate_hz' wants float, got True"),
    ("max_rate_hz:=.nan", "'max_rate_hz' is nan, but must be 0 to 1000"),
    ("max_rate_hz:=-1", "'max_rate_hz' is -1.0, but must be 0 to 1000"),
    ("image_timeout_s:=.inf", "'image_timeout_s' is inf, but must be a finite number"),
    ("threshold:=-.inf", "'threshold' is -inf, but must be a finite number"),
    ("min_area:=16.0", "'min_area' wants int, got 16.0; write a whole number"),
    ("min_area:=99999999999999999999", "'min_area' wants int, got 1e+20"),
    ("autostart:=1", "'autostart' wants bool, got 1; write true or false"),
    ("autostart:='true'", "'autostart' wants bool, got 'true'; write true or false"),
    (
        "use_sim_time:=1",
        "'use_sim_time' to '1' of type 'INTEGER', expecting type 'BOOL'. Unquoted",
    ),
    (f"{IMAGES}.depth:='10'", "topic 'image_raw' cannot be used: subscription.depth is '10', but"),
    (f"{IMAGES}.depth:=-1", "subscription.depth is -1, but must be a whole number from 0"),
    (f"{IMAGES}.depth:=1.5", "subscription.depth is 1.5, but must be a whole number"),
    (f"{IMAGES}.depth:=true", "subscription.depth is True, but must be a whole number"),
    (f"{IMAGES}.depth:=99999999999", "subscription.depth is 99999999999, but must be"),
    (f"{QUERY}.reliability:=1", "subscription.reliability is 1, but must be one of"),
    (f"{QUERY}.reliability:=unknown", "must be one of system_default, reliable, best_effort"),
    (f"{QUERY}.durability:=latched", "is 'latched', but must be one of system_default, transient"),
    (f"{QUERY}.history:=''", "subscription.history is '', but must be one of"),
    ("qos_overrides./clip_surgery/mask.publisher.depth:=-1", "topic 'clip_surgery/mask' cannot"),
]
FILES = [
    ("clip_surgery: {ros__parameters: {", "is no YAML: while parsing a flow"),
    ("\0\1", "is no YAML: unacceptable character #x0000"),
    ("- a\n- b\n", "has no ros__parameters; write the node's name or /**"),
    ("max_rate_hz: 2.0\n", "has no ros__parameters;"),
    ("clip_surgery: {ros_parameters: {max_rate_hz: 2.0}}\n", "has no ros__parameters;"),
    (
        "/**:\n  ros__parameters:\n    threshold:\n",
        "Error: No value at line 3; give parameters as",
    ),
    ("/**:\n  ros__parameters:\n    default_query: 7\n", "'default_query' wants str, got 7"),
    (
        "other: {ros__parameters: {x: 1}}\n",
        "is for /other and sets nothing of /clip_surgery; call",
    ),
    ("/robot/clip_surgery: {ros__parameters: {x: 1}}\n", "is for /robot/clip_surgery and sets"),
    ("robot: {clip_surgery: {ros__parameters: {x: 1}}}\n", "is for /robot/clip_surgery and sets"),
]
ARGUMENTS = [
    (("-p", "device"), "ROS cannot use its arguments: Couldn't parse parameter override rule"),
    (("-p",), "Couldn't parse trailing -p flag"),
    (("--bogus",), "['--bogus'] are unknown; give parameters as -p name:=value"),
    (("-r", "image_raw:camera"), "Couldn't parse remap rule: '-r image_raw:camera'"),
    (("-r", "__node:=9 bad"), "Couldn't parse remap rule"),
    (("-r", "query:=clip_surgery/text_query"), "topic '/clip_surgery/text_query' would be"),
    (("--params-file", "/nowhere.yaml"), "parameter file /nowhere.yaml does not exist"),
    (("--params-file", "/"), "parameter file / does not exist, or is no file"),
]


def start_error(capfd, *arguments):
    """Start the node's program; return its error when it ends with status 2."""
    assert run(["clip_surgery_node", "--ros-args", *arguments], SimpleQueue()) == 2
    output = capfd.readouterr().err
    assert "Traceback" not in output
    (error,) = (line for line in output.splitlines() if line.startswith("clip_surgery: "))
    return error


@pytest.mark.usefixtures("ros_context")
@pytest.mark.parametrize(
    ("assignment", "error"), INVALID, ids=[assignment for assignment, _ in INVALID]
)
def test_invalid_parameter_value_ends_the_node(assignment, error, capfd):
    assert error in start_error(capfd, "-p", assignment)


@pytest.mark.usefixtures("ros_context")
@pytest.mark.parametrize(("content", "error"), FILES)
def test_invalid_parameter_file_ends_the_node(content, error, capfd, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text(content)
    assert error in start_error(capfd, "--params-file", str(path))


@pytest.mark.usefixtures("ros_context")
@pytest.mark.parametrize(("arguments", "error"), ARGUMENTS)
def test_invalid_ros_arguments_end_the_node(arguments, error, capfd):
    assert error in start_error(capfd, *arguments)


@pytest.mark.parametrize(
    ("section", "node", "applies"),
    [
        ("/**", "/robot/clip_surgery", True),
        ("clip_surgery", "/clip_surgery", True),
        ("clip_surgery", "/robot/clip_surgery", False),
        ("/robot/clip_surgery", "/robot/clip_surgery", True),
        ("/*", "/clip_surgery", True),
        ("/*", "/robot/clip_surgery", False),
        ("/*/clip_surgery", "/robot/clip_surgery", True),
        ("/*/clip_surgery", "/clip_surgery", False),
        ("/**/clip_surgery", "/clip_surgery", True),
        ("/**/clip_surgery", "/a/b/clip_surgery", True),
        ("/robot/**", "/robot/clip_surgery", True),
        ("/robot/**", "/clip_surgery", False),
    ],
)
def test_parameter_file_applies_to_the_nodes_of_its_sections(section, node, applies, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text(f"{section}:\n  ros__parameters:\n    x: 1\n")
    arguments = ["node", "--ros-args", "--params-file", str(path)]
    if applies:
        return check_files_apply(arguments, node)
    with pytest.raises(ConfigError, match="sets nothing of"):
        check_files_apply(arguments, node)


def test_integer_is_accepted_for_a_float_parameter_at_start(rigs):
    rig = rigs(max_rate_hz=2, threshold=0, presence_threshold=1)
    for name, value in (("max_rate_hz", 2.0), ("threshold", 0.0), ("presence_threshold", 1.0)):
        declared = rig.node.get_parameter(name)
        assert (declared.type_, declared.value) == (Parameter.Type.DOUBLE, value)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "does not exist, or is no file; name one that does"),
        ("max_rate_hz: 2.0\n", "has no ros__parameters"),
        ("/**: {ros__parameters: {max_rate_hz: 2.0}}\n", ""),
    ],
)
def test_parameter_file_is_checked_before_launch(content, error, tmp_path):
    path = tmp_path / "parameters.yaml"
    if content:
        path.write_text(content)
    if not error:
        return check_parameter_file(path)
    with pytest.raises(ConfigError, match=error):
        check_parameter_file(path)


def test_bytes_are_rejected_for_a_string_parameter(rigs):
    with pytest.raises(ConfigError, match=r"wants str, got \[b'a', b'b'\]; write one value"):
        rigs(device=[b"a", b"b"])


def test_node_process_prints_the_error_and_ends_with_status_2():
    with Process(*NODE, "-p", "max_rate_hz:=fast") as node:
        node.wait_for_line(
            "clip_surgery: parameter 'max_rate_hz' wants float, got 'fast'", START_S
        )
        assert node.wait() == 2
        assert "Traceback" not in node.text()
