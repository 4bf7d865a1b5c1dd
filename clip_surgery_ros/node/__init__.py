"""The lifecycle node and its process.

Not here: messages and QoS (``ros/``). Begin with ``node.py``; ``main.py`` is the executable.
"""
