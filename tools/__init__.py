"""Programs around the pipeline: the demo, several models at once, a comparison of results, pictures and plots."""
