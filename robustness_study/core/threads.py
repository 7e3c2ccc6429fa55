"""Keeps results independent of the number of threads in numpy and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def matrices_on_one_thread() -> Iterator[None]:
    """Let numpy and scikit-learn multiply matrices with one thread in the `with` block or the decorated function.

    A library of matrix products splits sums among its threads, so the last digits depend on how many there are. Other
    computations, such as the search for nearest neighbours, share out rows and stay parallel.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
