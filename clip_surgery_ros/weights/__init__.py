"""Weight files: published ones, their download, formats, layouts and origin.

Not here: the networks that weights are loaded into. Begin with ``catalogue.py`` (what there is)
and ``state_dicts.py`` (how a file is read). ``demo/`` holds the weights that the package ships.
"""
