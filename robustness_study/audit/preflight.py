"""Looks for the usual mistakes before any work: eight images through the model, then some more.

The commonest one is normalisation in the wrong place: a model that wants normalised images and gets them in [0, 1], or
the other way round. Its accuracy rises when the images are normalised, or scaled to 0…255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robustness_study.core.errors import StudyError
from robustness_study.statistics import mcnemar

FEW = 8  # images for the first look
HALF, FAR = 0.5, 0.2  # shares of images: what another order of the classes must reach, and by how much raise accuracy
FEWEST_OF_A_CLASS = 10  # images, a mean: with fewer, the best renaming fits by chance
LEVEL = 0.01  # of the test that images of another scale are more often right
PIXELS = 200_000  # of images in a batch, so that large images need no more memory
CLEARLY = 0.05  # share of images: by so much accuracy must rise before it counts as a sign of a mistake
CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAME = 1e-4  # relative to the largest logit: two calls may differ so much by rounding

Logits = Callable[[Tensor], Tensor]


def refuse_mistakes(model: Logits, images: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    """Raise StudyError, in one line, if the model is not one that can be audited as it is.

    `images`, float32 in [0, 1], N×3×S×S, with labels, int64 N; hundreds are better than eight.
    """
    few = images[:FEW]
    logits = _called(model, few)
    if logits.ndim != 2 or len(logits) != len(few):
        raise StudyError(
            f"the model returns a tensor of {tuple(logits.shape)} for {len(few)} images; it must return logits, one "
            "row for each image"
        )
    if logits.shape[1] != len(classes):
        raise StudyError(
            f"the model has {logits.shape[1]} outputs, but there are {len(classes)} classes; name the classes in the "
            "order of the outputs with --classes, or use a model for these classes"
        )
    every = _called(model, images)
    if not torch.isfinite(every).all():
        raise StudyError("the model returns NaN or infinity for some images; correct its weights or its normalisation")
    _refuse_probabilities(every)
    again = _called(model, few)
    if (logits - again).abs().max() > SAME * logits.abs().max():
        raise StudyError(
            "the model returns other logits when it is called again; turn off what is random in it (dropout, noise), "
            "as an attack cannot follow it"
        )
    one = torch.cat([_called(model, few[place : place + 1]) for place in range(len(few))])
    if (logits - one).abs().max() > 100 * SAME * logits.abs().max():
        raise StudyError(
            "the model's logits of an image depend on the other images of the batch; set its batch norm to evaluation "
            "mode, and do not set it back to training in forward()"
        )
    _refuse_no_gradient(model, few)
    _refuse_other_scale(model, images, labels, every.argmax(1) == labels)
    _refuse_other_order(every.argmax(1), labels, classes)


def _called(model: Logits, images: Tensor) -> Tensor:
    """The logits of images. Raises StudyError, with the error's own words, if the model fails."""
    found = []
    for batch in images.split(max(1, PIXELS // images[0, 0].numel())):
        try:
            with torch.no_grad():
                logits = model(batch)
        except Exception as error:  # of another person's model
            reason = " ".join(str(error).split())[:200]
            shape = "×".join(map(str, batch.shape))
            export = " (export it with dynamic_shapes, so that any number of images will do)" * ("Guard" in reason)
            raise StudyError(
                f"the model fails on {shape} images in [0, 1] ({type(error).__name__}: {reason}){export}"
            ) from None
        if not isinstance(logits, Tensor):
            raise StudyError(f"the model returns a {type(logits).__name__}; it must return a tensor of logits")
        found.append(logits.float())
    return torch.cat(found)


def _refuse_probabilities(found: Tensor) -> None:
    """Logits of many images do not all add up to one."""
    ones = torch.ones(len(found), device=found.device)
    if (found >= 0).all() and torch.allclose(found.sum(1), ones, atol=1e-3):
        raise StudyError(
            "the model returns probabilities, but logits are needed: an attack on probabilities finds less; remove the "
            "softmax at its end"
        )
    if (found >= 0).all() and (found <= 1).all():
        print("audit: all outputs are between 0 and 1. If the model ends in a sigmoid, remove it: logits are needed")


def _refuse_no_gradient(model: Logits, images: Tensor) -> None:
    """The gradient of a sum of all logits with fixed weights. That of a loss can vanish in a very confident model."""
    given = images.clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            logits = model(given).float()
            weights = torch.linspace(1, 2, logits.shape[1], device=logits.device)
            (slope,) = torch.autograd.grad((logits * weights).sum(), given, allow_unused=True)
    except RuntimeError:
        slope = None
    if slope is None or not slope.abs().amax():
        raise StudyError(
            "the model gives no gradient with respect to its images, so no attack by gradients works; remove "
            "torch.no_grad, detach, rounding and conversions to numpy from its forward()"
        )


def _refuse_other_scale(model: Logits, images: Tensor, labels: Tensor, right: Tensor) -> None:
    """Compare with the accuracy on images of other scales; `right` says which are correct as they are."""

    def correct(given: Tensor) -> Tensor:
        return _called(model, given).argmax(1) == labels

    found = {}
    for name, (mean, std) in {"CIFAR-10's": CIFAR, "ImageNet's": IMAGENET}.items():
        of_channel = [torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (mean, std)]
        option = f"--mean {' '.join(map(str, mean))} --std {' '.join(map(str, std))}"
        found[f"normalised with {name} mean and standard deviation", f"add {option}"] = correct(
            (images - of_channel[0]) / of_channel[1]
        )
    found[
        "scaled to 0…255",
        "divide by 255 inside the model's own forward(), or add --mean 0 0 0 --std " + " ".join(["0.00392157"] * 3),
    ] = correct(images * 255)
    (how, remedy), best = max(found.items(), key=lambda each: float(each[1].double().mean()))
    plain, other = (float(each.double().mean()) for each in (right, best))
    if other > plain + CLEARLY and mcnemar(*(each.cpu().numpy() for each in (right, best))) < LEVEL:
        raise StudyError(
            f"accuracy is {plain:.3f} on images in [0, 1] but {other:.3f} on the same {len(images)} images {how}: "
            f"normalisation is in the wrong place; {remedy}"
        )


def _refuse_other_order(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    """Compare the accuracy with that under the best renaming of the outputs, where there are enough images for it."""
    from scipy.optimize import linear_sum_assignment

    if len(labels) < FEWEST_OF_A_CLASS * len(classes):
        return
    counts = torch.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2)
    confusion = counts.view(len(classes), len(classes)).cpu().numpy()
    rows, places = linear_sum_assignment(-confusion)
    plain, best = (float(each) / len(labels) for each in (confusion.trace(), confusion[rows, places].sum()))
    if best > max(HALF, plain + FAR):
        order = [classes[label] for label in places.argsort()]
        raise StudyError(
            f"accuracy is {plain:.3f}, but {best:.3f} with the classes in another order: the model's outputs seem to "
            f"be in the order {', '.join(order)}; name this order with --classes"
        )
