"""The classifier: normalisation, a network (the backbone) and the head of its loss."""
