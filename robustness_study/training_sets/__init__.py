"""Training sets."""
