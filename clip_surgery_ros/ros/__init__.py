"""Everything of ROS but the node: messages, parameters, QoS, cameras, executor, bags.

Not here: the node itself (``node/``). Begin with ``outputs.py``, the table of topics.
"""
