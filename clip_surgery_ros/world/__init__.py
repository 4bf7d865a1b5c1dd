"""Generated scenes of which everything is known: they train, test and show the demo.

Not here: photographs with annotations (``evaluation/coco.py``). Begin with ``view.py`` and
``scene.py`` (the rendered world); ``scenes.py`` (stickers) goes when nothing uses it any more.
"""
