"""The audited model in the form that attacks and scores need: images in [0, 1] in, logits and features out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from robustness_study.attacks.scoring import Logits
from robustness_study.classifier.precision import precision_of
from robustness_study.core.errors import StudyError

ALIKE = 0.9  # cosine of two gradients of an image, a median: by so much must they agree for a search by the faster one
IN_ONE_FILE = (torch.jit.ScriptModule, torch.fx.GraphModule)  # such a model shows no modules and keeps nothing


class Audited(nn.Module):
    """Normalisation and the model. Images are float32 in [0, 1], N×3×S×S; the logits N×classes.

    Without `mean` and `std` the model gets the images as they are. `layer` is the name of the module whose input is
    taken as the features. Without it, the linear layer that is called last is; if none is, the features are empty, N×0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, layer: str | None = None
    ) -> None:
        super().__init__()
        for name, values, usual in (("mean", mean, 0.0), ("std", std, 1.0)):
            given = [usual] * 3 if values is None else list(values)
            self.register_buffer(name, torch.tensor(given, dtype=torch.float32).view(1, 3, 1, 1))
        self.model = model
        self.layer = layer
        self._alone: AbstractContextManager[object] = nullcontext()
        self._seen = threading.local()  # batches are computed by several threads at the same time
        for module in watched_layers(model, layer):
            module.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if getattr(self._seen, "wanted", False):  # in an attack it would keep the graph of a whole batch
            self._seen.value = next((each for each in (*given, *named.values()) if isinstance(each, Tensor)), None)

    def one_at_a_time(self) -> None:
        """Let one thread at a time use the model: it keeps something between its layers, which threads would mix up."""
        self._alone = threading.Lock()

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, N×classes, of images in [0, 1], N×3×S×S."""
        with self._alone:
            logits: Tensor = self.model((images - self.mean) / self.std)
        return logits

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features, float32. A feature map or a sequence of tokens counts as its mean over places.

        Raises StudyError if the model does not use the layer that was named.
        """
        self._seen.wanted, self._seen.value = True, None
        try:
            logits = self(images).float()
        finally:
            self._seen.wanted = False
        found, self._seen.value = self._seen.value, None
        if found is None or len(found) != len(images):
            if self.layer is not None:
                raise StudyError(f"--features {self.layer}: the model does not use this layer; name another one")
            return logits, images.new_zeros(len(images), 0)
        if found.ndim > 2:  # N×D×H×W, or N×tokens×D
            found = found.flatten(2).mean(2) if found.ndim == 4 else found.mean(1)
        return logits, found.float()

    def features(self, images: Tensor) -> Tensor:
        """The features alone."""
        return self.outputs(images)[1]


def watched_layers(model: nn.Module, name: str | None) -> list[nn.Module]:
    """The module of this name, or all linear layers.

    Raises StudyError if there is no module of this name.
    """
    if isinstance(model, IN_ONE_FILE):
        if name is not None:
            raise StudyError(f"--features {name}: a model in one file does not show its modules; leave out --features")
        return []
    modules = dict(model.named_modules())
    if name is None:
        return [module for module in modules.values() if isinstance(module, nn.Linear)]
    if name not in modules:
        some = ", ".join([each for each in modules if each][-5:])
        raise StudyError(f"--features {name}: the model has no module of this name; its last ones are {some}")
    return [modules[name]]


@torch.no_grad()
def keeps_something(model: nn.Module, images: Tensor) -> bool:
    """Whether the model keeps something while it computes: by hooks, or in attributes of its modules.

    `images` are in the form that the model wants. Look before the hooks of `Audited` are there.
    """
    if isinstance(model, IN_ONE_FILE):
        return False
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return True
    before = _attributes(model)
    model(images)
    return _attributes(model) != before


def _attributes(model: nn.Module) -> list[tuple[str, str, int, tuple[int, ...]]]:
    """Every attribute of every module, by identity; of a list or dictionary, also its members."""
    return [
        (name, key, id(value), tuple(map(id, value.values() if isinstance(value, dict) else value)))
        if isinstance(value, dict | list)
        else (name, key, id(value), ())
        for name, module in model.named_modules()
        for key, value in vars(module).items()
    ]


def guide_of(model: Audited, images: Tensor, labels: Tensor) -> Logits:
    """Logits by which attacks search: in bfloat16 if the device computes in it and the gradients stay alike.

    They are compared on `images`, float32 in [0, 1], with `labels`, int64. Every attacked image is judged in float32.
    """
    device = model.mean.device
    if precision_of("auto", device, "") != torch.bfloat16:
        return model

    def faster(given: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model(given).float()

    try:
        exact, rough = (_gradient(logits, images, labels) for logits in (model, faster))
    except RuntimeError:  # not every layer exists in bfloat16
        return model
    alike = nn.functional.cosine_similarity(exact, rough).median()
    return faster if alike >= ALIKE else model


def _gradient(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss for each image, N×values."""
    given = images.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(logits(given).float(), labels, reduction="sum")
    (found,) = torch.autograd.grad(loss, given)
    return found.flatten(1)
