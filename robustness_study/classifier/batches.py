"""Computes on many images in batches, several at a time on the CPU, with the same bits for any number of threads.

Torch's kernels split a sum among the threads that they may use, so their last digits depend on how many these are. Here
each batch is computed by one thread, and the threads work on different batches. So a machine with more cores gives the
same results, only sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
MOST_THREADS = 16  # each needs the memory of a batch


def each_batch(function: Callable[[slice], Result], count: int, batch_size: int, device: torch.device) -> list[Result]:
    """The results of the function for slices of at most `batch_size` rows out of `count`, in their order.

    The slices have the same size, or differ by one row: a small last one would leave threads idle.
    """
    number = -(-count // batch_size)
    batches = [slice(count * each // number, count * (each + 1) // number) for each in range(number)]
    if device.type != "cpu" or torch.get_num_threads() == 1:
        return [function(batch) for batch in batches]
    threads = max(1, min(torch.get_num_threads(), MOST_THREADS, len(batches)))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, batches))


def in_batches(function: Callable[..., Tensor], batch_size: int, *tensors: Tensor) -> Tensor:
    """Apply a function to the rows of the tensors, batch by batch, and concatenate the results."""
    first = tensors[0]
    return torch.cat(
        each_batch(lambda batch: function(*(tensor[batch] for tensor in tensors)), len(first), batch_size, first.device)
    )
