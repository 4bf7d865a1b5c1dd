"""The demo: a camera node that shows the rendered world, and the program that asks about it.

Not here: scenes (``world/``), training (``training/``). Begin with ``show.py``.
"""
