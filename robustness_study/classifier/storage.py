"""Saves and loads a trained model: its weights as safetensors, and a JSON file with what is needed to rebuild it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from safetensors.torch import save as tensors_as_bytes

from robustness_study import losses, networks
from robustness_study.classifier.model import Classifier
from robustness_study.core.cached import remedy
from robustness_study.core.cell import WEIGHTS_DIGEST
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_bytes, read_record, replacing, write_record
from robustness_study.losses import Loss
from robustness_study.networks import Network


def build(network: Network, loss: Loss, classes: int, mean: Sequence[float], std: Sequence[float]) -> Classifier:
    """A new model, channels-last, initialised from torch's global generator: the backbone first, then the head.

    `mean` and `std` are those of each colour channel, in [0, 1]. Raises StudyError if the network cannot take images of
    its size.
    """
    backbone, width = network.make_backbone()
    model = Classifier(backbone, loss.make_head(width, classes), mean, std, width=width)
    return model.to(memory_format=torch.channels_last)


def save(
    folder: Path, model: Classifier, network: Network, loss: Loss, classes: list[str], notes: dict[str, Any]
) -> None:
    """Write `weights.safetensors` and `model.json` to `folder`. `notes` are added to `model.json` unchanged."""
    # Sorted and contiguous, so that the same weights always give the same bytes.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    content = tensors_as_bytes(weights)
    with replacing(folder / "weights.safetensors") as beside:
        beside.write_bytes(content)
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
    write_record(folder / "model.json", {**rebuilds, **notes, WEIGHTS_DIGEST: hashlib.sha256(content).hexdigest()})


def load(folder: Path, device: torch.device) -> tuple[Classifier, dict[str, Any]]:
    """The model in `folder`, in evaluation mode, and the content of its `model.json`.

    The weights are frozen, so that an attack does not compute their gradients, which nobody needs. Raises StudyError if
    the folder holds no readable model, one of another name than the folder's, or if its network does not exist.
    """
    notes = read_record(folder / "model.json", WEIGHTS_DIGEST)
    if notes.get("model", folder.name) != folder.name:
        raise StudyError(f"{folder} holds the model {notes['model']}; {remedy(folder / 'model.json')}")
    try:
        if notes["loss"] not in losses.names():
            raise KeyError(notes["loss"])
        loss = losses.make(notes["loss"], notes["loss_config"])
        network = networks.make(notes["network"], notes["stem"], notes["size"])
        model = build(network, loss, len(notes["classes"]), notes["mean"], notes["std"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # The file is from another version of this code, or was edited. pydantic's ValidationError is a ValueError.
        raise StudyError(
            f"{folder}/model.json does not fit this version of the code ({type(error).__name__}); run `dvc repro` again"
        ) from None
    path = folder / "weights.safetensors"
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it or `dvc checkout` to restore it") from None
    if hashlib.sha256(content).hexdigest() != notes[WEIGHTS_DIGEST]:
        raise StudyError(f"{path} was changed after it was written, or is of another model; {remedy(path)}")
    try:
        model.load_state_dict(tensors_from(content))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(f"{path} does not fit its model.json ({reason}); run `dvc repro` again") from None
    return model.to(device).eval().requires_grad_(False), notes
