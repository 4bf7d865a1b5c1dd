"""ROS messages, parameters, QoS, cameras and executor, to and from the core's types.

Not here: the node itself (``node/``). Begin with ``outputs.py``, the table of topics.
"""
