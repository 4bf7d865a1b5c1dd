"""Segment Anything in its three families: SAM, MobileSAM, SAM 2.

Begin with ``backend.py``; ``segmenters.py`` says which code runs which network.
"""
