"""Settings of all tests."""

from hypothesis import settings

# No example may fail for being slow on a busy machine, and each run tries the same ones.
settings.register_profile("untimed", deadline=None, derandomize=True, database=None)
settings.load_profile("untimed")
