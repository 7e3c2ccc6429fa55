"""What a model gets right, and how its features lie."""
