"""How right the answers are, on generated scenes and on annotated pictures.

Not here: what a frame costs (``benchmark/``). Begin with ``examples.py`` and ``outcome.py``.
"""
