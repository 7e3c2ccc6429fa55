"""`timm/NAME`: any network of the library timm (Wightman 2019, github.com/huggingface/pytorch-image-models).

It is not pretrained. It has its global pooling but not its last layer. timm initialises it. For many residual networks,
timm already starts each block as the identity.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from robustness_study.core.errors import StudyError

if TYPE_CHECKING:
    from torch import nn

    from robustness_study.networks import Network


def check(name: str) -> None:
    """Raise StudyError, in one line, if timm has no network of this name, or is not installed."""
    short, known = name.removeprefix("timm/"), _library(name).list_models()
    if short not in known:
        near = get_close_matches(short, known)
        hint = f"similar names: {', '.join(near)}" if near else "timm.list_models() lists its networks"
        raise StudyError(f"network is {name!r}, which does not exist in timm; {hint}")


def make(network: Network) -> nn.Module:
    """A new network of timm: float32 N×3×S×S → N×D. A network that is built for one image size gets `network.size`.

    Raises StudyError if it cannot be built for this size.
    """
    timm, name = _library(network.name), network.name.removeprefix("timm/")
    config = timm.get_pretrained_cfg(name)
    options = {"img_size": network.size} if config is not None and config.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (RuntimeError, AssertionError, ValueError, TypeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(
            f"network {network.name} cannot be built for images of {network.size}×{network.size} pixels ({reason}); "
            "use another network or larger images"
        ) from error


def start_as_identity(backbone: nn.Module) -> None:
    """Let timm start each residual block as the identity. Raises StudyError if timm cannot do this for the network."""
    blocks: list[Any] = [module for module in backbone.modules() if hasattr(module, "zero_init_last")]
    if not blocks:
        raise StudyError(
            "recipe: timm cannot start the blocks of this network as the identity; set zero_init_residual to false"
        )
    for block in blocks:
        block.zero_init_last()


def _library(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise StudyError(f"network is {name!r}, but timm is not installed; run pip install timm") from None
    return timm
