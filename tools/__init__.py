"""What surrounds the pipeline and is no part of it: the demo, and the script behind `dvc plots`."""
