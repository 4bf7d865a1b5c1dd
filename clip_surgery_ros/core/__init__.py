"""The method, from image and query to segments; numpy, torch and OpenCV.

Not here: networks, ROS, parameters, files of pictures. Begin with ``pipeline.py``; ``types.py``
has the words that every other file uses.
"""
