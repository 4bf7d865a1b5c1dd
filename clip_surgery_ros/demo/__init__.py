"""The demo: a camera node that shows generated scenes, and the program that asks about them.

Not here: scenes (``world/``), training (``training/``). Begin with ``run.py``.
"""
