"""Published figures: the data sets and rules of papers, to the letter.

Begin with ``protocols.py``; ``prediction.py`` and ``explainability.py`` do what it says.
"""
