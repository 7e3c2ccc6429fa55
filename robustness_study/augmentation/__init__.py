"""Random changes that training makes to images in each epoch."""
