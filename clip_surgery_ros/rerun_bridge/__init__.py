"""Results as the Rerun viewer shows them, live or in a file; also for ``segment`` and ``label``.

Not here: messages (``ros/``) and the files of ``label`` (``recorded/rrd_files.py``). Begin with
``archetypes.py``.
"""
