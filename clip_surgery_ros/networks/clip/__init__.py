"""CLIP: its image tower with surgery, its text tower and the features of texts.

Begin with ``backend.py``; ``surgery.py`` has the paper's attention.
"""
