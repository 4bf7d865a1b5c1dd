"""Generated scenes of which everything is known: they train, test and show the demo.

Not here: photographs with annotations (``evaluation/coco.py``). Begin with ``scenes.py``.
"""
