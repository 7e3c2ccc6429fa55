"""Trains one model: batches, optimiser, engine, checkpoints and progress."""
