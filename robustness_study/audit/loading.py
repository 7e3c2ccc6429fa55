"""Loads a model that a person hands over, and refuses what could run code that nobody looked at.

Five kinds of model are known: a function of a Python file, `FILE.py:FUNCTION`; a network of timm, `timm/NAME`; a
TorchScript file, `*.pt`; a file of torch.export, `*.pt2`; a model of the pipeline, `models/KEY`. Weights are a
safetensors file, or one of torch.save that holds no code. The person's own file is run as it is, and so is a `*.pt2`
file, which can hold pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from torch import Tensor, nn

from robustness_study.classifier import storage
from robustness_study.core.errors import StudyError
from robustness_study.core.files import bytes_digest, read_bytes

KINDS = "FILE.py:FUNCTION, timm/NAME, a TorchScript file *.pt, a file of torch.export *.pt2, or models/KEY"


DECIDING = (  # packages; a natural set is decided by its checksums in `natural`
    *("attacks", "audit", "classifier", "core", "corruptions", "evaluation", "losses", "natural", "networks", "planes"),
)
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, Lightning


@dataclass(frozen=True)
class Loaded:
    """A model; of one of the pipeline's also its network and precision. `files` are the person's own files."""

    model: nn.Module
    network: str = ""
    trained_in: str = "float32"
    files: tuple[str, ...] = ()


def load(spec: str, weights: Path | None, classes: int) -> Loaded:
    """The model that `spec` names, with these weights, in evaluation mode and with its weights frozen.

    `classes` is the number of outputs of a network of timm. Raises StudyError if it cannot be loaded.
    """
    if weights is not None:
        _content_without_code(weights)  # whoever loads them later
    if Path(spec).is_dir() or spec.startswith("models/"):
        if not (Path(spec) / "model.json").is_file():
            raise StudyError(f"{spec}/model.json does not exist; train the model by `dvc repro`, or name {KINDS}")
        if weights is not None:
            raise StudyError(f"{spec} holds its own weights; leave out --weights")
        of_pipeline, notes = storage.load(Path(spec), torch.device("cpu"))
        return Loaded(of_pipeline, notes["network"], notes["environment"]["precision"])
    files: tuple[str, ...] = ()
    if spec.startswith("timm/"):
        model = _of_timm(spec, weights, classes)
    elif ".py:" in spec:
        model, files = _of_function(spec, weights)
    elif spec.endswith((".pt", ".pt2")):
        model, files = _of_file(Path(spec), weights), (spec,)
    else:
        raise StudyError(f"model {spec!r} is of no known kind; name {KINDS}")
    for weight in model.parameters():  # a ScriptModule has no requires_grad_ of its own
        weight.requires_grad_(False)
    # A graph of torch.export is in the mode in which it was exported. It has no other, and refuses eval().
    with contextlib.suppress(NotImplementedError):
        model.eval()
    return Loaded(model, files=files)


def digest(spec: str, loaded: Loaded, model: nn.Module, features: str | None) -> str:
    """SHA-256 of all that decides the outputs: weights and buffers, the person's files, and this project's code."""
    found = hashlib.sha256(repr([Path(spec).name, features]).encode())
    for name in loaded.files:
        found.update(Path(name).read_bytes())
    for path in own_code():
        found.update(path.read_bytes())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.flatten().view(torch.uint8).numpy().data if values.numel() else b"")
    return found.hexdigest()


def own_code() -> list[Path]:
    """The files of this project that decide the results of an audit."""
    top = Path(__file__).parent.parent
    return sorted(path for name in DECIDING for path in (top / name).rglob("*.py"))


def about(spec: str, weights: Path | None, loaded: Loaded) -> dict[str, str]:
    """What the report says of a model, without paths of this machine."""
    count = sum(weight.numel() for weight in loaded.model.parameters())
    found = {"model": spec if spec.startswith("timm/") else Path(spec).name, "parameters": f"{count:,}"}
    return found | ({} if weights is None else {"weights": f"{weights.name}, sha256 {bytes_digest(_content(weights))}"})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, by name.

    Raises StudyError if it is neither a safetensors file nor one of torch.save with tensors only.
    """
    found = _content_without_code(path)
    for key in ("state_dict", "model", "model_state_dict", "net"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise StudyError(f"{path} holds a {type(found).__name__}, not a state dict of tensors; save model.state_dict()")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _content_without_code(path: Path) -> Any:
    """What a file of weights holds. Raises StudyError if it is a pickle that could run code, or no such file."""
    content = _content(path)
    if path.suffix == ".safetensors":
        try:
            return tensors_from(content)
        except SafetensorError as error:
            raise StudyError(f"{path} is not a safetensors file ({_short(error)}); write it again") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds, with long texts
        name = path.with_suffix(".safetensors").name
        raise StudyError(
            f"{path} is not a file of tensors: it is broken, or a pickle. A pickle can run any code, so it is not "
            f"opened. If you trust it, convert it: found = torch.load('{path.name}', weights_only=False), then "
            f"safetensors.torch.save_file(found.state_dict(), '{name}') if it is a model, or "
            f"save_file(found['state_dict'], '{name}') if it is a checkpoint"
        ) from None


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, most=20_000_000_000, advice="name a file of weights")
    except FileNotFoundError:
        raise StudyError(f"--weights {path} does not exist; name a safetensors file, or one of torch.save") from None


def _of_timm(spec: str, weights: Path | None, classes: int) -> nn.Module:
    from robustness_study.networks import _timm

    _timm.check(spec)
    import timm

    model: nn.Module = timm.create_model(spec.removeprefix("timm/"), pretrained=False, num_classes=classes)
    if weights is None:
        raise StudyError(f"{spec} needs its weights, as none are fetched from a hub; add --weights FILE")
    tensors = read_weights(weights)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise StudyError(f"{weights} does not fit {spec} with {classes} classes ({_short(error)})") from None
    return model


def _of_function(spec: str, weights: Path | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The model that a function of the person's own file returns, and all files of theirs that were imported.

    The function gets the path of the weights, if there are any.
    """
    name, _, function = spec.rpartition(":")
    path = Path(name)
    if not path.is_file():
        raise StudyError(f"{name} does not exist; name the file with the function that returns your model")
    before = set(sys.modules)
    try:
        made = _called(path, spec, function, [] if weights is None else [weights])
    finally:
        files = _forget(path.parent.resolve(), before)
    if not isinstance(made, nn.Module):
        raise StudyError(f"{spec} returned a {type(made).__name__}; it must return a torch.nn.Module")
    return made, (str(path), *files)


def _forget(folder: Path, before: set[str]) -> list[str]:
    """Remove what was imported from a folder since `before`, and return its files.

    Another model's file may import another module of the same name.
    """
    files: dict[str, str | None] = {
        name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before
    }
    own = {
        name: file
        for name, file in files.items()
        if file and folder in Path(file).resolve().parents and "site-packages" not in Path(file).parts
    }
    for name in own:
        del sys.modules[name]
    return sorted(own.values())


def _called(path: Path, spec: str, function: str, arguments: list[Path]) -> object:
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)  # the file may import others beside it
    try:
        found = importlib.util.spec_from_file_location(f"audited_{path.stem}", path)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module
        found.loader.exec_module(module)
        load_model: Callable[..., object] | None = getattr(module, function, None)
        if not callable(load_model):
            raise StudyError(f"{path} has no function {function}; define {function}(weights), which returns the model")
        return load_model(*arguments)
    except StudyError:
        raise
    except Exception as error:  # anything can be wrong in another person's file: it is told, with its line
        lines = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
        at = f", line {lines[-1].lineno}" if lines else ""
        raise StudyError(f"{spec} failed ({type(error).__name__}{at}: {_short(error)})") from None
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _of_file(path: Path, weights: Path | None) -> nn.Module:
    """A whole model in one file."""
    if weights is not None:
        raise StudyError(f"{path} holds its own weights; leave out --weights")
    if not path.is_file():
        raise StudyError(f"{path} does not exist; name {KINDS}")
    try:
        if path.suffix == ".pt2":
            found: nn.Module = torch.export.load(path).module()
        else:
            with warnings.catch_warnings():  # torch would rather have torch.export; people have such files
                warnings.simplefilter("ignore", FutureWarning)
                found = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:  # torch raises many kinds
        raise StudyError(
            f"{path} is neither TorchScript nor of torch.export ({_short(error)}); if it holds weights only, write a "
            "function that builds the model, and name FILE.py:FUNCTION and --weights"
        ) from None
    return found


def _short(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}…"
