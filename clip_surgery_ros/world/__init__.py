"""The rendered world, of which everything is known: it trains, tests and shows the demo.

Not here: photographs with annotations (``evaluation/coco.py``). Begin with ``view.py`` and
``scene.py``.
"""
