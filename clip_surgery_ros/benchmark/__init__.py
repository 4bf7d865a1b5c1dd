"""What a frame costs, side by side with the same work by the packages as they come.

Not here: how right it is (``evaluation/``). Begin with ``setting.py`` and ``rows.py``.
"""
