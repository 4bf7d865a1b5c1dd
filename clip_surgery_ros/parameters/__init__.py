"""What a user sets: the table of parameters, with defaults, limits and reasons.

Not here: ROS's own parameter calls (``ros/parameters.py``). Begin with ``config.py``.
"""
