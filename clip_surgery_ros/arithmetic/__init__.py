"""Layers and attention of transformers, computed fast and exactly, for CLIP and SAM.

Not here: the networks themselves. Begin with ``layers.py``, which chooses the fastest correct
matrix product.
"""
