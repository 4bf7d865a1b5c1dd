"""CLIP: its image tower with surgery, its text tower and the features of texts.

Begin with ``backend.py``, which joins them; ``surgery.py`` has the paper's attention and
``loading.py`` makes networks from files.
"""
