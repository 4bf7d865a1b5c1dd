"""How the demo's small networks are trained, exported, fitted and measured.

Not here: the scenes that they learn from (``world/``). Begin with ``train_clip.py``.
"""
