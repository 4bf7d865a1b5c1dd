"""How the demo's small networks are trained, exported, fitted and described.

Not here: the scenes they learn from (``world/``). Begin with ``train_clip.py``.
"""
