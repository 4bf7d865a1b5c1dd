"""Recorded data, labelled by words: a plan of items, their labels, and the files that result.

Not here: how bags are read (``ros/bag_parts.py``). Begin with ``plan.py``.
"""
