"""What surrounds the pipeline and is no part of it: the demo, models side by side, the script of `dvc plots`."""
