"""Start the node: ``ros2 launch clip_surgery_ros clip_surgery.launch.py``.

``--show-args`` lists the arguments. An empty argument does not override the parameter file.
Start the camera with the same Fast DDS profile; else large images are lost on their way.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.cameras import parse_cameras
from clip_surgery_ros.ros.arguments import check_parameter_file
from clip_surgery_ros.ros.wheels import profiles_variable, ros_prefixes
from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory("clip_surgery_ros")) / "config"
ARGUMENTS = {
    "namespace": ("", "namespace of the node"),
    "image": ("image_raw", "camera topic, where image_topics is not used"),
    "image_topics": (
        "",
        "several cameras for one node: topics or name:=topic entries, separated by spaces",
    ),
    "image_transport": ("", "raw or compressed"),
    "depth": (
        "",
        "depth topic, for objects in space; several in the order of image_topics, separated by "
        "spaces",
    ),
    "target_frame": ("", "frame of the boxes in space, with z up; empty for the camera's"),
    "tracking": ("", "true for ids that last (red mug/3) and ~/tracks, or false"),
    "params": (str(CONFIG / "demo.yaml"), "parameter file"),
    "query": ("", "what to look for from the start, such as 'red mug; screwdriver'"),
    "device": ("", "auto, cpu or cuda:N"),
    "autostart": ("", "true to configure and activate without a lifecycle manager, or false"),
    "use_sim_time": ("", "true to take the time from /clock, as with recorded bags, or false"),
    "rviz": ("false", "true to start rviz2 as well, on the results of the first camera"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "fastdds_profile": (
        str(CONFIG / "fastdds.xml"),
        "Fast DDS profile for large images; empty to use that of the environment",
    ),
}
PARAMETERS = {
    "image_transport": ("image_transport", str),
    # Of type str: without it, a query such as "7" or "off" would be read as YAML.
    "query": ("default_query", str),
    "device": ("device", str),
    "target_frame": ("target_frame", str),
    "tracking": ("tracking", bool),
    "autostart": ("autostart", bool),
    "use_sim_time": ("use_sim_time", bool),
}
"""Arguments that set a parameter of the node: the parameter and its type."""
SHOWN = ("overlay", "heatmap", "mask", "confidence", "markers", "points", "background_points")
"""Result topics that config/clip_surgery.rviz shows."""


def nodes(context: LaunchContext) -> list[Node]:
    """Make the nodes from the arguments."""
    check_parameter_file(Path(LaunchConfiguration("params").perform(context)))
    profile = LaunchConfiguration("fastdds_profile").perform(context)
    if profile and not Path(profile).is_file():
        raise ConfigError(
            f"fastdds_profile {profile} does not exist; name a file, or leave it empty"
        )
    topics = LaunchConfiguration("image_topics").perform(context).split()
    overrides = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=value_type)
        for argument, (parameter, value_type) in PARAMETERS.items()
        if LaunchConfiguration(argument).perform(context)
    }
    if topics:
        overrides["image_topics"] = topics
    if depth := LaunchConfiguration("depth").perform(context).split():
        overrides["depth_topics"] = depth
    node = LifecycleNode(
        package="clip_surgery_ros",
        executable="clip_surgery_node",
        name="clip_surgery",
        namespace=LaunchConfiguration("namespace"),
        remappings=[("image_raw", LaunchConfiguration("image"))] if not topics else None,
        parameters=[LaunchConfiguration("params"), overrides],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    return [node, rviz(topics, LaunchConfiguration("target_frame").perform(context))]


def rviz(topics: list[str], fixed_frame: str) -> Node:
    """Make rviz2, with the topics of its configuration remapped to those of the node.

    :param topics: the entries of ``image_topics``; the first camera is shown.
    :param fixed_frame: of the view of objects in space; empty for that of the configuration.
    """
    camera = parse_cameras(topics)[0] if topics else None
    prefix = f"clip_surgery/{camera.name}/".replace("//", "/") if camera else "clip_surgery/"
    image = camera.topic if camera else LaunchConfiguration("image")
    results = [(f"/clip_surgery/{name}", prefix + name) for name in SHOWN]
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=[
            *("-d", str(CONFIG / "clip_surgery.rviz")),
            *(("-f", fixed_frame) if fixed_frame else ()),
        ],
        remappings=[("/image_raw", image), *results],
        output="screen",
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def generate_launch_description() -> LaunchDescription:
    """Describe one node and its arguments."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    profile = LaunchConfiguration("fastdds_profile")
    use_profile = SetEnvironmentVariable(
        profiles_variable(ros_prefixes()),
        profile,
        condition=IfCondition(NotEqualsSubstitution(profile, "")),
    )
    return LaunchDescription([*declared, use_profile, OpaqueFunction(function=nodes)])
