"""Start the node on a camera: ``ros2 launch clip_surgery_ros clip_surgery.launch.py``.

Start the camera with the same Fast DDS profile, or large images are lost between the two.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory("clip_surgery_ros")) / "config"
ARGUMENTS = {
    "namespace": ("", "namespace of the node"),
    "image": ("image_raw", "camera topic"),
    "params": (str(CONFIG / "demo.yaml"), "parameter file"),
    "query": ("", "what to look for from the start, such as 'red mug; screwdriver'"),
    "fastdds_profile": (str(CONFIG / "fastdds.xml"), "Fast DDS profile for large images"),
}


def clip_surgery_node(context: LaunchContext) -> list[Node]:
    """Make the node from the arguments as given."""
    parameters = [LaunchConfiguration("params")]
    query = LaunchConfiguration("query").perform(context)
    if query:
        # Said to be text, or a query such as "7" or "off" would be read as YAML.
        parameters.append({"default_query": ParameterValue(query, value_type=str)})
    return [
        Node(
            package="clip_surgery_ros",
            executable="clip_surgery_node",
            name="clip_surgery",
            namespace=LaunchConfiguration("namespace"),
            remappings=[("image_raw", LaunchConfiguration("image"))],
            parameters=parameters,
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe one clip_surgery node and its arguments."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    profile = SetEnvironmentVariable(
        "FASTRTPS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile")
    )
    return LaunchDescription([*declared, profile, OpaqueFunction(function=clip_surgery_node)])
