"""Networks: one file each, found by the file's name. A network turns images into features; a loss's head does the rest.

A network file defines two functions:

- `make(network)` returns a new `torch.nn.Module` that maps float32 images N×3×H×W to features N×D. Its argument is the
  `Network` below. Every random number comes from torch's global generator. The file does not state D, because the
  project measures it.
- `start_as_identity(module)` changes what `make` returned so that each residual block adds nothing at first. It is
  called if the recipe sets `zero_init_residual`. A network without residual blocks has `start_as_identity = None`; the
  stage `check` then stops with an error at that setting. If the file cannot know this before the network is built, the
  function raises StudyError.

`timm/NAME` is any network of the library timm (networks/_timm.py). `names`, `check` and `has_residual_blocks` import
no torch, so the stage `check` stays fast. Only `check` of a `timm/NAME` imports timm.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from robustness_study.core import registry
from robustness_study.core.errors import StudyError

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm/"
NEEDS = ("make", "start_as_identity")
NO_BLOCKS = "network {} has no residual blocks; set zero_init_residual to false"


def names() -> list[str]:
    """The names of all networks except `timm/NAME`: the files in this folder."""
    return registry.names(__path__)


def check(name: str) -> None:
    """Raise StudyError, in one line, if no network has this name."""
    if name.startswith(TIMM):
        _module(name).check(name)
    elif name not in names():
        raise StudyError(f"network is {name!r}, which does not exist; use one of {', '.join(names())} or {TIMM}NAME")


def has_residual_blocks(name: str) -> bool:
    """Whether the network's file defines `start_as_identity` as other than None. Reads the file without importing it.

    Raises StudyError if the file has a mistake that can be seen without importing it.
    """
    node = registry.look(__name__, _module_name(name), NEEDS).get("start_as_identity")
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else node
    return not (isinstance(value, ast.Constant) and value.value is None)


def file_of(name: str) -> str:
    """The file that defines the network, as a path from the root of the project."""
    return registry.file_of(__name__, _module_name(name))


def libraries(name: str) -> dict[str, str]:
    """Name → version of the library that the network comes from; empty if that is torchvision or this project."""
    return {"timm": version("timm")} if name.startswith(TIMM) else {}


def make(name: str, stem: str, size: int) -> Network:
    """The network `name` for images of `size`×`size` pixels. Raises StudyError if it does not exist."""
    check(name)
    return Network(name, stem, size)


@dataclass(frozen=True)
class Network:
    """What defines a network: its name, its stem (only resnet18 has several) and the width of its images in pixels."""

    name: str
    stem: str
    size: int

    def make_backbone(self) -> tuple[nn.Module, int]:
        """A new backbone, float32 N×3×H×W → N×D, initialised from torch's global generator; and its width D.

        Raises StudyError if it cannot take images of this size, or if its output is not N×D.
        """
        backbone = _module(self.name).make(self)
        return backbone, self.width_of(backbone, self.size)

    def width_of(self, backbone: nn.Module, size: int) -> int:
        """The width D of the features N×D, measured on one black image of `size`×`size` pixels.

        Raises StudyError if the backbone cannot take images of this size, or if its output is not N×D.
        """
        import torch

        was_training = backbone.training
        try:
            with torch.no_grad():
                features = backbone.eval()(torch.zeros(1, 3, size, size))
        except (RuntimeError, AssertionError, ValueError, ArithmeticError) as error:
            reason = " ".join(str(error).split())[:200]
            raise StudyError(
                f"network {self.name} cannot take images of {size}×{size} pixels ({reason}); use another network or "
                "larger images (low_resolution_share halves them at first)"
            ) from error
        finally:
            backbone.train(was_training)
        if features.ndim != 2:
            raise StudyError(
                f"network {self.name} returns shape {tuple(features.shape)} for one image; it must be (1, D)"
            )
        return features.shape[1]

    def start_as_identity(self, backbone: nn.Module) -> None:
        """Change a new backbone so that each residual block adds nothing at first.

        Raises StudyError if the network has no such blocks.
        """
        start = _module(self.name).start_as_identity
        if start is None:
            raise StudyError(NO_BLOCKS.format(self.name))
        start(backbone)


def _module_name(name: str) -> str:
    return "_timm" if name.startswith(TIMM) else name


def _module(name: str) -> Any:
    return registry.module(__name__, _module_name(name), [*names(), "_timm"], NEEDS)
