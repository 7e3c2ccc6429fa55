"""Networks: one file each, found by its name. A network turns images into features; a loss's head does the rest.

A network file holds two functions:

- `make(network)` returns a fresh `torch.nn.Module` that maps float32 images N×3×H×W to features N×D. It gets the
  `Network` below and uses what it needs of it. Every random number comes from torch's global generator. D is measured,
  so the file does not say it.
- `start_as_identity(module)` changes what `make` returned so that each residual block adds nothing at first. The
  recipe's `zero_init_residual` asks for it. A network without residual blocks has `start_as_identity = None`, and the
  stage `check` then refuses that setting. Where the file cannot know, the function raises StudyError.

`timm/NAME` is any network of the library timm (networks/_timm.py). `names`, `check` and `has_residual_blocks` import
no torch, so the stage `check` stays fast; only `check` of a `timm/NAME` imports timm.
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
    """The networks there are, beside `timm/NAME`: the files in this folder."""
    return registry.names(__path__)


def check(name: str) -> None:
    """Raise StudyError, in one line, if there is no network of this name."""
    if name.startswith(TIMM):
        _module(name).check(name)
    elif name not in names():
        raise StudyError(f"network is {name!r}, which does not exist; there are {', '.join(names())} and {TIMM}NAME")


def has_residual_blocks(name: str) -> bool:
    """Whether the network's file says how blocks start as the identity; read without importing it.

    Raises StudyError if the file has a mistake that shows without importing it.
    """
    node = registry.look(__name__, _module_name(name), NEEDS).get("start_as_identity")
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else node
    return not (isinstance(value, ast.Constant) and value.value is None)


def file_of(name: str) -> str:
    """The file that makes the network, as a path from the root of the project."""
    return registry.file_of(__name__, _module_name(name))


def libraries(name: str) -> dict[str, str]:
    """The version of the library that the network is taken from, where that is not torchvision."""
    return {"timm": version("timm")} if name.startswith(TIMM) else {}


def make(name: str, stem: str, size: int) -> Network:
    """The network `name` for images of `size`×`size` pixels. Raises StudyError if there is none."""
    check(name)
    return Network(name, stem, size)


@dataclass(frozen=True)
class Network:
    """What decides a network: its name, its stem (only resnet18 has several) and the side of its images in pixels."""

    name: str
    stem: str
    size: int

    def make_backbone(self) -> tuple[nn.Module, int]:
        """A fresh backbone, float32 N×3×H×W → N×D, initialised from torch's global generator; and its width D.

        Raises StudyError if it cannot take images of this size, or gives no features N×D.
        """
        backbone = _module(self.name).make(self)
        return backbone, self.width_of(backbone, self.size)

    def width_of(self, backbone: nn.Module, size: int) -> int:
        """The width D of the features N×D, measured on one black image of `size`×`size` pixels.

        Raises StudyError if the backbone cannot take images of this size, or gives no features N×D.
        """
        import torch

        was_training = backbone.training
        try:
            with torch.no_grad():
                features = backbone.eval()(torch.zeros(1, 3, size, size))
        except (RuntimeError, AssertionError, ValueError, ArithmeticError) as error:
            reason = " ".join(str(error).split())[:200]
            raise StudyError(f"network {self.name} cannot take images of {size}×{size} pixels ({reason})") from error
        finally:
            backbone.train(was_training)
        if features.ndim != 2:
            raise StudyError(f"network {self.name} gives {tuple(features.shape)} for one image; it must be (1, D)")
        return features.shape[1]

    def start_as_identity(self, backbone: nn.Module) -> None:
        """Change a fresh backbone so that each residual block adds nothing at first.

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
