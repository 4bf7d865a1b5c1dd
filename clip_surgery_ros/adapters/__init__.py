"""ROS messages, parameters and qualities of service, to and from the core's types."""
