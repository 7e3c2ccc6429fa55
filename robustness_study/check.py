"""Checks params.yaml: every section by itself, and that the sections fit together.

It does not import torch, because this check runs first and must be fast.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from robustness_study import corruptions, datasets, losses, natural, networks, training_sets
from robustness_study.attacks import catalogue, entry_checks
from robustness_study.core import params, registry
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT, code_digest, project_imports
from robustness_study.core.section import Section
from robustness_study.schema.attack import Attack
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.download import Download
from robustness_study.schema.embed import Embed
from robustness_study.schema.evaluate import Evaluate
from robustness_study.schema.natural import Natural
from robustness_study.schema.recipe import Recipe
from robustness_study.schema.split import Split
from robustness_study.schema.stability import Stability
from robustness_study.schema.study import NAME, Study
from robustness_study.schema.suite import Suite
from robustness_study.schema.transfer import Transfer

SECTIONS: dict[str, type[Section]] = {
    "download": Download,
    "split": Split,
    "corrupt": Corrupt,
    "suite": Suite,
    "evaluate": Evaluate,
    "attack": Attack,
    "transfer": Transfer,
    "embed": Embed,
    "stability": Stability,
}


def check(values: dict[str, Any]) -> None:
    """Validate every section, and that the sections fit together. Raises StudyError at the first mistake."""
    known = {*Study.model_fields, *Natural.model_fields, *SECTIONS, "recipes", "loss_config", "train_set_config"}
    for key in values:
        if key not in known:
            raise StudyError(
                f"params.yaml: {key} is unknown; check the spelling or remove it (keys are {', '.join(sorted(known))})"
            )
    for key in sorted(known):
        params.lookup(values, key)
    check_losses(values)
    study = params.validated("", {key: values[key] for key in Study.model_fields}, Study)
    for name, schema in SECTIONS.items():
        params.validated(name, values[name], schema)
    datasets.check(Download.model_validate(values["download"]))
    chosen = params.validated("", {"natural": values["natural"]}, Natural).natural
    natural.check(chosen, values["download"]["dataset"])
    check_attacks()
    catalogue.settings_of(Attack.model_validate(values["attack"]))
    check_corruptions(values["suite"]["corruptions"], [named["corruption"] for named in values["corrupt"]["before"]])
    check_train_sets(study.train_sets, values["train_set_config"])
    check_recipes(values["recipes"], study.recipe, values["download"]["size"])


def check_losses(values: dict[str, Any]) -> None:
    """Check `loss`, `losses` and `loss_config`.

    This runs before the check of types, so that a misspelt name on the command line gets a clear message.
    """
    available, chosen, loss = losses.names(), values["losses"], values["loss"]
    if loss not in available:
        raise StudyError(f"params.yaml: loss is {loss!r}, which does not exist; choose one of {', '.join(available)}")
    if not isinstance(chosen, list) or not chosen:
        raise StudyError(f"params.yaml: losses is {chosen!r}; it must be a list with at least one loss")
    for name in chosen:
        if name not in available:
            raise StudyError(
                f"params.yaml: losses has {name!r}, which does not exist; choose one of {', '.join(available)}"
            )
    if loss not in chosen:
        wanted = ",".join([*chosen, loss])
        raise StudyError(
            f"params.yaml: loss is {loss!r}, which exists but is not in losses {chosen}; "
            f"add it: -S loss={loss} -S 'losses=[{wanted}]'"
        )
    check_blocks("loss_config", values["loss_config"], chosen, losses)


def check_train_sets(chosen: list[str], configs: Any) -> None:
    """Check that every training set in `chosen` exists and has a block in params, and that all blocks are valid."""
    available = training_sets.names()
    for name in chosen:
        if name not in available:
            raise StudyError(
                f"params.yaml: train_sets has {name!r}, which does not exist; choose one of {', '.join(available)}"
            )
    check_blocks("train_set_config", configs, chosen, training_sets)


def check_blocks(section: str, configs: Any, chosen: list[str], kind: ModuleType) -> None:
    """Check a section that has one block for each loss or each training set.

    `kind` is the package `losses` or `training_sets`. Every name in `chosen` must have a block. Every block must fit
    the class `Config` in the file of that name.
    """
    available = kind.names()
    if not isinstance(configs, dict):
        raise StudyError(f"params.yaml: {section} is {configs!r}; it must have a block for each of {', '.join(chosen)}")
    for name in chosen:
        if name not in configs:
            raise StudyError(
                f"params.yaml: {section}.{name} is missing; add it, with its settings or as {{}} if it has none"
            )
    for name, config in configs.items():
        if name not in available:
            raise StudyError(
                f"params.yaml: {section}.{name} is unknown; rename or remove it (known are {', '.join(available)})"
            )
        schema = kind.config_class(name)
        if not isinstance(schema, type) or not issubclass(schema, Section):
            raise StudyError(
                f"{kind.file_of(name)}: Config must be a subclass of Section (core/section.py); correct it"
            )
        params.validated(f"{section}.{name}", config, schema)


def check_attacks() -> None:
    """Check the list of attacks (the catalogue), and that every attack has its file. Imports none of these files."""
    entry_checks.check_entries(catalogue.EVERY)
    for entry in catalogue.RUN:
        registry.look("robustness_study.attacks", entry.name, catalogue.NEEDS)


def check_corruptions(suite: list[str], before: list[str]) -> None:
    """Check that all named corruptions exist, and that the suite has at least one of CIFAR-10-C's 15.

    Without one of these 15 the mean over the suite would be empty.
    """
    known = corruptions.names()
    for key, chosen in (("suite.corruptions", suite), ("corrupt.before", before)):
        for name in chosen:
            if name not in known:
                raise StudyError(
                    f"params.yaml: {key} has {name!r}, which does not exist; choose one of {', '.join(known)}"
                )
    if not set(suite) & set(corruptions.CIFAR_10_C):
        raise StudyError(
            f"params.yaml: suite.corruptions is {suite}; add at least one of CIFAR-10-C's 15: "
            f"{', '.join(corruptions.CIFAR_10_C)}"
        )


def check_recipes(recipes: Any, chosen: str, size: int) -> None:
    """Check that every recipe is valid for images `size` pixels wide, and that the recipe `chosen` exists."""
    if not isinstance(recipes, dict) or not recipes:
        raise StudyError(f"params.yaml: recipes is {recipes!r}; it must have a block for each recipe")
    for name, recipe in recipes.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise StudyError(f"params.yaml: recipes has the name {name!r}; use only lower-case letters, digits and _")
        checked = params.validated(f"recipes.{name}", recipe, Recipe)
        try:
            networks.check(checked.network)
        except StudyError as error:
            raise StudyError(f"params.yaml: recipes.{name}.{error}") from None
        check_network(name, checked)
        if checked.peak_learning_rate * checked.weight_decay >= 1:
            raise StudyError(
                f"params.yaml: recipes.{name}.peak_learning_rate is {checked.peak_learning_rate} and weight_decay is "
                f"{checked.weight_decay}; lower one, because with a product of 1 or more the decay makes weights grow"
            )
        if checked.crop_padding >= size:
            raise StudyError(
                f"params.yaml: recipes.{name}.crop_padding is {checked.crop_padding}, but images (download.size) "
                f"are {size} pixels wide; set it to at most {size - 1}"
            )
        if checked.cutout_pixels > size:
            raise StudyError(
                f"params.yaml: recipes.{name}.cutout_pixels is {checked.cutout_pixels}, but images (download.size) "
                f"are {size} pixels wide; set it to at most {size}"
            )
    if chosen not in recipes:
        raise StudyError(
            f"params.yaml: recipe is {chosen!r}, which is not in recipes; choose one of {', '.join(recipes)}"
        )


def check_network(recipe_name: str, recipe: Recipe) -> None:
    """Check the file of the recipe's network and the project files that it imports. Imports none of them."""
    has_blocks = networks.has_residual_blocks(recipe.network)
    project_imports(ROOT / networks.file_of(recipe.network))
    if recipe.zero_init_residual and not has_blocks:
        reason = networks.NO_BLOCKS.format(recipe.network)
        raise StudyError(f"params.yaml: recipes.{recipe_name}.zero_init_residual is true, but {reason}")


def chosen_network(values: dict[str, Any]) -> dict[str, str]:
    """The network of the recipe in params, with a digest of its code. `values` must have passed `check`.

    Stages that build a network depend on this. So a change to the file of another network re-trains nothing.
    """
    name = values["recipes"][values["recipe"]]["network"]
    code = code_digest(project_imports(ROOT / networks.file_of(name)))
    return {"network": name, "sha256": code, **networks.libraries(name)}
