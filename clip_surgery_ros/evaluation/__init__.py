"""How good the results are, on generated scenes and on annotated pictures.

Not here: how long a frame takes (``benchmark/``). Begin with ``examples.py`` and ``outcome.py``.
"""
