"""The demo: camera nodes that show generated scenes, and the program that asks about them.

Not here: scenes (``world/``), training (``training/``). Begin with ``run.py`` for sticker scenes,
or with ``world_camera.py`` and ``world_run.py`` for the rendered world.
"""
