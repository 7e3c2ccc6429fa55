"""Runs the study with several models at once: on one machine, or on the machines of a cluster.

Parsl starts the jobs, repeats those that fail, and talks to the cluster. DVC alone decides what there is to do.
"""
