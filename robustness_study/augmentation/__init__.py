"""What training does to images in each epoch."""
