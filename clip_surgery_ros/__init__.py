"""Find things by name in a robot's camera: CLIP Surgery heatmaps, SAM masks."""
