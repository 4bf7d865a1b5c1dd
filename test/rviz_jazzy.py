"""Names in configurations of rviz, as rviz of Jazzy has them.

From https://github.com/ros2/rviz, branch jazzy at 591594e (BSD-3-Clause): classes from
``rviz_default_plugins/plugins_description.xml``; properties from the constructors of the classes
below ``rviz_default_plugins/src/rviz_default_plugins/`` and ``rviz_common/src/rviz_common/``. A
property that a configuration names and a class lacks is ignored by rviz without a word.
"""

GLOBAL_OPTIONS = {"Background Color", "Fixed Frame", "Frame Rate"}
"""``visualization_manager.cpp``."""
OF_EVERY_DISPLAY = {"Enabled", "Value"}
"""``display.cpp``, ``properties/bool_property.cpp``: a display is a property with a value."""
TOPIC = {
    *("Depth", "History Policy", "Reliability Policy", "Durability Policy"),
    "Filter size",
}
"""``properties/qos_profile_property.cpp``, and ``message_filter_display.hpp``."""
TOOLS = {
    f"rviz_default_plugins/{name}"
    for name in (
        *("MoveCamera", "PublishPoint", "Select", "SetGoal", "Measure", "FocusCamera"),
        *("SetInitialPose", "Interact"),
    )
}
PROPERTIES = {
    "rviz_default_plugins/Image": {
        *("Topic", "Normalize Range", "Min Value", "Max Value", "Median window"),
    },
    "rviz_default_plugins/MarkerArray": {"Topic", "Namespaces"},
    "rviz_default_plugins/PointCloud2": {
        *("Topic", "Alpha", "Decay Time", "Selectable", "Style", "Size (Pixels)", "Size (m)"),
        *("Color Transformer", "Position Transformer", "Use Fixed Frame"),
    },
    "rviz_default_plugins/TF": {
        *("Show Names", "Show Axes", "Show Arrows", "Marker Scale", "Update Interval"),
        *("Frame Timeout", "Filter (whitelist)", "Filter (blacklist)", "Frames", "Tree"),
    },
    "rviz_default_plugins/Grid": {
        *("Reference Frame", "Plane Cell Count", "Normal Cell Count", "Cell Size", "Line Style"),
        *("Color", "Alpha", "Plane", "Offset"),
    },
    "rviz_default_plugins/Orbit": {
        *("Distance", "Focal Point", "Focal Shape Size", "Focal Shape Fixed Size", "Pitch"),
        *("Yaw", "Target Frame", "Near Clip Distance", "Invert Z Axis"),
    },
}
"""By class."""
CHOICES = {
    "Style": ("Points", "Squares", "Flat Squares", "Spheres", "Boxes", "Tiles"),
    "Color Transformer": ("RGB8", "RGBF32", "Intensity", "AxisColor", "FlatColor"),
    "Position Transformer": ("XYZ",),
    "Plane": ("XY", "XZ", "YZ"),
}
"""Values of properties: ``point_cloud_common.cpp``, ``point_cloud_transformer_factory.cpp`` and
``grid_display.cpp``."""
