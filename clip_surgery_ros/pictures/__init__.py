"""Picture files and drawings of results, for the overlay, the tools and the demo.

Not here: image messages (``ros/images.py``), plots of measurements. Begin with ``render.py``.
"""
