"""How numbers are computed: in bfloat16 where the processor has it, the same bits each time, and in what memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def precision_of(setting: str, device: torch.device) -> torch.dtype:
    """The arithmetic of the forward pass: "auto" is bfloat16 where the processor computes in it."""
    if setting != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[setting]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory: on the CPU it has no error of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@contextmanager
def repeatable(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Let torch compute in ways that give the same bits each time: on the CPU always, on a GPU if asked.

    With two threads, the gradient of an indexed tensor is otherwise added up in whatever order they
    get there; the losses on pairs index a lot.
    """
    memory: Any = torch.utils.deterministic  # its one setting is invisible to type checkers
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before[0] or deterministic or device.type == "cpu")
    memory.fill_uninitialized_memory = False  # it costs time, and nothing here reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
