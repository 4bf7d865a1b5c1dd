"""Time and memory of frames, side by side with the same work by unmodified packages.

Not here: the quality of results (``evaluation/``). Begin with ``measurements.py``, the list, and
``setting.py``.
"""
