"""How torch computes: in bfloat16 or float32, with the same bits each time; and how running out of memory shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from robustness_study.core.errors import StudyError
from robustness_study.networks import TIMM


def precision_of(setting: str, device: torch.device, network: str) -> torch.dtype:
    """The data type of the forward pass. "auto" is bfloat16 if the processor computes in it, otherwise float32.

    On the CPU a network of timm computes in float32: where an image has become smaller than a convolution's kernel,
    torch's bfloat16 kernels leave a part of the weight's gradient unwritten (seen with torch 2.15 for timm/test_resnet,
    whose gradient then held whatever was in memory, NaN as well). The project's own networks avoid these kernels
    (networks/_convolution.py). Raises StudyError if the setting is bfloat16 all the same.
    """
    unsafe = device.type == "cpu" and network.startswith(TIMM)
    if unsafe and setting == "bfloat16":
        raise StudyError(
            f"precision is bfloat16, but {network} computes wrong gradients in it on the CPU; set it to auto or float32"
        )
    if setting != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[setting]
    if unsafe:
        return torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory. On the CPU it has no error class for that, so the text decides."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def is_of_compiler(error: RuntimeError) -> bool:
    """Whether `torch.compile` could not compile, for instance because no C++ compiler or no Triton is installed.

    Other errors of its modules are about the network. The classes go by name, as the modules take long to import.
    """
    failures = {"BackendCompilerFailed", "TritonMissing", "GPUTooOldForTriton"}
    return any(kind.__name__ in failures for kind in type(error).__mro__)


def use_deterministic_algorithms(on: bool) -> None:
    """What torch's function of this name does, but without importing the compiler of `torch.compile`.

    torch's function tells the compiler as well, and so imports it, which takes as long as importing torch. Whoever
    called `torch.compile` has imported it.
    """
    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(on)
    else:
        torch.set_deterministic_debug_mode("error" if on else "default")


@contextmanager
def repeatable(device: torch.device, deterministic: bool) -> Iterator[None]:
    """A context in which torch gives the same bits each time: on the CPU always, on a GPU if `deterministic`.

    Otherwise two threads add up the gradient of an indexed tensor in an order that differs between runs. The losses
    on pairs index tensors often.
    """
    if deterministic and device.type == "cuda":
        # Without it torch refuses to multiply matrices by cuBLAS (docs.pytorch.org, use_deterministic_algorithms).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic  # type checkers do not see its one setting
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    use_deterministic_algorithms(before[0] or deterministic or device.type == "cpu")
    memory.fill_uninitialized_memory = False  # filling takes time, and nothing here reads such memory
    try:
        yield
    finally:
        use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
