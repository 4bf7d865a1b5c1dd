"""CLIPs and SAMs behind the core's interfaces, and the factory that loads a pair.

Not here: weight files (``weights/``), layers (``arithmetic/``). Begin with ``factory.py``.
"""
