"""The method: numpy, torch and OpenCV; no ROS, no networks' packages."""
