"""torchvision's residual networks, imported without `torch._dynamo`, the compiler of `torch.compile`.

Importing torchvision 0.29 takes as long as importing torch, and nearly all of that is `torch._dynamo`. torchvision
takes one function from it, which only its operator `roi_align` calls. So during the import that function is one that
imports the compiler when it is called.

If torchvision asks for more, the compiler is imported at once: the import then takes longer, and nothing else changes.
A test notices. `torch.compile` imports the compiler as always.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"


class StandIn(ModuleType):
    """Takes the place of `torch._dynamo.utils` in `sys.modules`, until more than one function is asked for."""

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """What the compiler's function of this name answers: whether it can compile for this type of device."""
        return import_module(COMPILER).is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions about a module, such as whether it is a package
            raise AttributeError(name)
        self.leave()
        return getattr(import_module(COMPILER), name)

    def leave(self) -> None:
        """Make place for the module itself."""
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]


@contextmanager
def without_compiler() -> Iterator[None]:
    """A context in which an import of torchvision imports no compiler; unless that is imported already."""
    if COMPILER in sys.modules:
        yield
        return
    sys.modules[COMPILER] = stand_in = StandIn(COMPILER)
    try:
        yield
    finally:
        stand_in.leave()


def residual_networks() -> Any:
    """The module `torchvision.models.resnet`."""
    with without_compiler():
        from torchvision.models import resnet
    return resnet
