"""Find things by name in a robot's camera: CLIP Surgery heatmaps, SAM masks.

One folder per kind of thing; ``docs/architecture.md`` says what each holds and may import. Begin
with ``core/pipeline.py``, which answers a frame.
"""
