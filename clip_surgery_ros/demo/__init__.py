"""Generated scenes, their camera node, and the small networks trained on them."""
