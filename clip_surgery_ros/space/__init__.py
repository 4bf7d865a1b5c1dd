"""From a mask and depth to a place in metres: depth images, transforms, points and boxes.

Not here: messages (``ros/``). Begin with ``lifting.py``; ``reasons.py`` has every reason why
there is no box.
"""
