"""Ids that last: which object of a frame is which object of the frames before.

Not here: messages and parameters of the node. Begin with ``tracker.py``.
"""
