"""Stage `check`: the whole params.yaml, validated → a constant marker that every stage depends on.

The marker never changes, so a good params.yaml re-runs nothing; a bad one is named before any work.
No torch import: this is the first thing a person waits for.
"""

from __future__ import annotations

from typing import Any

from robustness_study import losses, networks
from robustness_study.core import params
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import write_text
from robustness_study.core.section import Section
from robustness_study.schema.attack import Attack
from robustness_study.schema.augmix import AugMix
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.download import Download
from robustness_study.schema.embed import Embed
from robustness_study.schema.evaluate import Evaluate
from robustness_study.schema.recipe import Recipe
from robustness_study.schema.split import Split
from robustness_study.schema.stability import Stability
from robustness_study.schema.study import NAME, Study
from robustness_study.schema.suite import Suite
from robustness_study.schema.transfer import Transfer

MARKER = "data/checked.txt"
TRAIN_SETS = ("clean", "corrupted", "augmix")
SECTIONS: dict[str, type[Section]] = {
    "download": Download,
    "split": Split,
    "corrupt": Corrupt,
    "augmix": AugMix,
    "suite": Suite,
    "evaluate": Evaluate,
    "attack": Attack,
    "transfer": Transfer,
    "embed": Embed,
    "stability": Stability,
}


def check(values: dict[str, Any]) -> None:
    """Validate every section and what sections promise each other; StudyError on the first fault."""
    known = {*Study.model_fields, *SECTIONS, "recipes", "loss_config"}
    for key in values:
        if key not in known:
            raise StudyError(f"params.yaml: {key} is unknown; the sections are {', '.join(sorted(known))}")
    for key in sorted(known):
        params.lookup(values, key)
    check_losses(values)
    study = params.validated("", {key: values[key] for key in Study.model_fields}, Study)
    for name, schema in SECTIONS.items():
        params.validated(name, values[name], schema)
    check_train_sets(study, values["augmix"]["splits"])
    check_recipes(values["recipes"], study.recipe, values["download"]["size"])


def check_losses(values: dict[str, Any]) -> None:
    """The loss names, before their types: a name mistyped on the command line gets its own answer."""
    available, chosen, loss = losses.names(), values["losses"], values["loss"]
    if loss not in available:
        raise StudyError(f"params.yaml: loss is {loss!r}, which does not exist; there are {', '.join(available)}")
    if not isinstance(chosen, list) or not chosen:
        raise StudyError(f"params.yaml: losses is {chosen!r}; it must be a list of at least one loss")
    for name in chosen:
        if name not in available:
            raise StudyError(
                f"params.yaml: losses has {name!r}, which does not exist; there are {', '.join(available)}"
            )
    if loss not in chosen:
        wanted = ",".join([*chosen, loss])
        raise StudyError(
            f"params.yaml: loss is {loss!r}, which exists but is not in losses {chosen}; "
            f"type -S loss={loss} -S 'losses=[{wanted}]'"
        )
    configs = values["loss_config"]
    if not isinstance(configs, dict):
        raise StudyError("params.yaml: loss_config must hold a block for each loss")
    for name in chosen:
        if name not in configs:
            raise StudyError(f"params.yaml: loss_config.{name} is missing; every loss in losses needs its block")
    for name, config in configs.items():
        if name not in available:
            raise StudyError(f"params.yaml: loss_config.{name} is unknown; there are {', '.join(available)}")
        params.validated(f"loss_config.{name}", config, losses.config_class(name))


def check_train_sets(study: Study, augmix_splits: list[str]) -> None:
    """Each training set is one that a stage makes; the stage of `augmix` is off unless it is told to."""
    for name in study.train_sets:
        if name not in TRAIN_SETS:
            raise StudyError(f"params.yaml: train_sets has {name!r}; there are {', '.join(TRAIN_SETS)}")
    if "augmix" in study.train_sets and "train" not in augmix_splits:
        raise StudyError("params.yaml: train_sets has 'augmix', which is not made; type -S 'augmix.splits=[train]' too")


def check_recipes(recipes: Any, chosen: str, size: int) -> None:
    """Every recipe is valid for images of that size, its network exists, and the one that `recipe` names is there."""
    if not isinstance(recipes, dict) or not recipes:
        raise StudyError("params.yaml: recipes must hold a block for each recipe")
    for name, recipe in recipes.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise StudyError(f"params.yaml: recipes has {name!r}; a name is lower-case letters, digits and _")
        checked = params.validated(f"recipes.{name}", recipe, Recipe)
        try:
            networks.check(checked.network)
        except StudyError as error:
            raise StudyError(f"params.yaml: recipes.{name}.{error}") from None
        if checked.crop_padding >= size:
            raise StudyError(
                f"params.yaml: recipes.{name}.crop_padding is {checked.crop_padding}; images of {size} pixels can be "
                f"padded by at most {size - 1}"
            )
    if chosen not in recipes:
        raise StudyError(f"params.yaml: recipe is {chosen!r}; recipes has {', '.join(recipes)}")


def main() -> None:
    check(params.read())
    write_text(MARKER, "params.yaml is valid\n")


if __name__ == "__main__":
    run(main)
