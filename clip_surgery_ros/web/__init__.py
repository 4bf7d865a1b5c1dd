"""The web console: watch the node and ask it, in a browser. A process and a ROS node of its own.

Not here: anything that the node computes. Begin with ``server.py``, and with ``page/app.js``.
"""
