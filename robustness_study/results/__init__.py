"""What the stages wrote of each model, and what follows from it."""
