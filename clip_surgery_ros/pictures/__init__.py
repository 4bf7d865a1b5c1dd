"""Picture files in, drawings of results out, for the overlay, the tools and the demo.

Not here: image messages (``ros/images.py``), plots of measurements. Begin with ``render.py``.
"""
