"""Which corruptions are similar to something in training. Robustness to these is to be expected.

`seen` is about what training does to images, `similar_to_dataset` about what the images are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from robustness_study import training_sets
from robustness_study.corruptions import families, names
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe

TRIVIAL_AUGMENT = ("brightness", "contrast", "saturation", "rotation", "blur")  # its sharpness also softens
STUDIES = {  # what the studies' own corruptions consist of
    "color_jitter": ("brightness", "contrast", "saturation"),
    "mix_without_flip": ("brightness", "contrast", "saturation", "rotation", "noise"),
    "mix": ("brightness", "contrast", "saturation", "rotation", "noise", "flip"),
}


def similar_corruptions() -> dict[str, tuple[str, ...]]:
    """What training may do to an image → the corruptions that do the same kind of thing."""
    noise, blur = families()["noise"], families()["blur"]
    members = {
        "noise": noise,
        "brightness": ("brightness",),
        "contrast": ("contrast",),
        "saturation": ("saturate",),
        "rotation": ("rotation", "elastic_transform"),  # it begins with an affine map, and a rotation is one
        "flip": ("horizontal_flip",),
        "blur": blur,
        "low resolution": ("pixelate", *blur),
    }
    return {kind: members[kind] for kind in training_sets.KINDS}


def similar_to_dataset(dataset: dict[str, Any]) -> list[str]:
    """The corruptions similar to what was done to the dataset's images before they came here.

    `dataset` is the entry of this name in evaluate.json. JPEG compression counts unless no training image was a JPEG
    file. If this is not known it counts too, so that nothing in training is taken for new.
    """
    return [] if dataset["jpeg_share"] == 0 else ["jpeg_compression"]


def seen(corrupt: Corrupt, recipe: Recipe, train_sets: Collection[str]) -> list[str]:
    """The corruptions similar to something in training.

    Training uses the studies' corruption (the mix), the recipe's augmentation, the changes that the training sets name,
    and `corrupt.before` (with the whole family of each corruption there). The list is the same for all models of a
    study, whatever their training set, so that they are compared on the same corruptions.
    """
    mix = corrupt.mix
    strengths = {
        "noise": mix.gaussian_noise.sigma,
        "brightness": mix.color_jitter.brightness,
        "contrast": mix.color_jitter.contrast,
        "saturation": mix.color_jitter.saturation,
        "rotation": mix.rotation.max_degrees,
        "flip": mix.horizontal_flip.probability,
    }
    kinds = {kind for kind, strength in strengths.items() if strength > 0}
    if recipe.flip != "off":
        kinds.add("flip")
    if recipe.trivial_augment:
        kinds.update(TRIVIAL_AUGMENT)
    for name in train_sets:
        kinds.update(training_sets.changes(name))
    if recipe.low_resolution_share > 0:
        kinds.add("low resolution")
    before = {named.corruption for named in corrupt.before}
    for name in before:
        kinds.update(STUDIES.get(name, ()))
        kinds.update(kind for kind, members in similar_corruptions().items() if name in members)
    similar = before | {name for kind in kinds for name in similar_corruptions()[kind]}
    for family, members in families().items():
        if family != "studies" and before & set(members):
            similar.update(members)
    jitters = any(mix.color_jitter.model_dump().values()) or bool(before & set(STUDIES))
    if jitters:
        similar.add("color_jitter")
    if jitters or kinds & {"noise", "rotation"}:
        similar.update(("mix", "mix_without_flip"))
    if "flip" in kinds:
        similar.add("mix")
    return [name for name in names() if name in similar]
