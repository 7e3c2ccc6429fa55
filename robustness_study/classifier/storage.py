"""A trained model on disk: weights as safetensors, and beside them the JSON that rebuilds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from robustness_study import losses, networks
from robustness_study.classifier.model import Classifier
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, replacing, write_json
from robustness_study.losses import Loss
from robustness_study.networks import Network


def build(network: Network, loss: Loss, classes: int, mean: Sequence[float], std: Sequence[float]) -> Classifier:
    """A fresh model, channels-last, initialised from torch's global generator, backbone first.

    Raises StudyError if the network cannot take images of its size.
    """
    backbone, width = network.make_backbone()
    model = Classifier(backbone, loss.make_head(width, classes), mean, std, width=width)
    return model.to(memory_format=torch.channels_last)


def save(
    folder: Path, model: Classifier, network: Network, loss: Loss, classes: list[str], notes: dict[str, Any]
) -> None:
    """Write `weights.safetensors` and `model.json`; `notes` are recorded as they are."""
    # In sorted order and contiguous, the same weights always give the same bytes.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    with replacing(folder / "weights.safetensors") as beside:
        save_file(weights, beside)
    rebuilds = {
        "network": network.name,
        "stem": network.stem,
        "size": network.size,
        "loss": loss.name,
        "loss_config": loss.config.model_dump(),
        "classes": classes,
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
    }
    write_json(folder / "model.json", {**rebuilds, **notes})


def load(folder: Path, device: torch.device) -> tuple[Classifier, dict[str, Any]]:
    """The model in evaluation mode, its weights frozen, and what `model.json` says of it.

    Frozen weights keep an attack from gathering gradients that nobody reads. Raises StudyError where
    the folder holds no readable model, or its network is not there.
    """
    notes = read_json(folder / "model.json")
    try:
        if notes["loss"] not in losses.names():
            raise KeyError(notes["loss"])
        loss = losses.make(notes["loss"], notes["loss_config"])
        network = networks.make(notes["network"], notes["stem"], notes["size"])
        model = build(network, loss, len(notes["classes"]), notes["mean"], notes["std"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # A file of another version of this code, or edited by hand. pydantic's ValidationError is a ValueError.
        raise StudyError(
            f"{folder}/model.json describes no model of this version ({type(error).__name__}); run `dvc repro` anew"
        ) from None
    try:
        model.load_state_dict(load_file(folder / "weights.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(f"{folder}/weights.safetensors cannot be loaded ({reason}); run `dvc repro` anew") from None
    return model.to(device).eval().requires_grad_(False), notes
