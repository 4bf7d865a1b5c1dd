"""How transformer layers are computed fast and exactly on this machine, for both towers.

Not here: any network. Begin with ``layers.py``, which chooses between forms of a product.
"""
