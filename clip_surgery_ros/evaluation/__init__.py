"""How right the answers are: examples with known objects, outcomes, figures, pictures."""
