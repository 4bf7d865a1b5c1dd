"""The lifecycle node and its process.

Not here: messages and QoS (``ros/``). Begin with ``node.py``, which lists the parts of the node;
``main.py`` is the executable.
"""
