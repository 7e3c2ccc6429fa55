"""The robustness of a model that was trained elsewhere."""
