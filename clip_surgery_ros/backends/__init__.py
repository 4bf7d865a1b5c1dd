"""Networks behind the protocols of ``core.interfaces``; no ROS."""
