"""Is params.yaml valid as a whole? Every section by itself, and what sections promise each other.

It imports no torch: a person waits for it first.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from robustness_study import corruptions, datasets, losses, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.core import params, registry
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT, code_digest, project_imports
from robustness_study.core.section import Section
from robustness_study.schema.attack import Attack
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
    """Validate every section and what sections promise each other; StudyError on the first fault."""
    known = {*Study.model_fields, *SECTIONS, "recipes", "loss_config", "train_set_config"}
    for key in values:
        if key not in known:
            raise StudyError(f"params.yaml: {key} is unknown; the sections are {', '.join(sorted(known))}")
    for key in sorted(known):
        params.lookup(values, key)
    check_losses(values)
    study = params.validated("", {key: values[key] for key in Study.model_fields}, Study)
    for name, schema in SECTIONS.items():
        params.validated(name, values[name], schema)
    datasets.check(Download.model_validate(values["download"]))
    check_attacks()
    catalogue.settings_of(Attack.model_validate(values["attack"]))
    check_corruptions(values["suite"]["corruptions"], [named["corruption"] for named in values["corrupt"]["before"]])
    check_train_sets(study.train_sets, values["train_set_config"])
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
    check_blocks("loss_config", values["loss_config"], chosen, losses)


def check_train_sets(chosen: list[str], configs: Any) -> None:
    """Every training set exists, has its block in params, and the block is valid; so is every other block."""
    available = training_sets.names()
    for name in chosen:
        if name not in available:
            raise StudyError(
                f"params.yaml: train_sets has {name!r}, which does not exist; there are {', '.join(available)}"
            )
    check_blocks("train_set_config", configs, chosen, training_sets)


def check_blocks(section: str, configs: Any, chosen: list[str], kind: ModuleType) -> None:
    """A section with a block for each idea of a kind (`losses` or `training_sets`).

    Every chosen one has its block, and every block is valid, as its file's `Config` says.
    """
    available = kind.names()
    if not isinstance(configs, dict):
        raise StudyError(f"params.yaml: {section} must hold a block for each of {', '.join(available)} that is used")
    for name in chosen:
        if name not in configs:
            raise StudyError(f"params.yaml: {section}.{name} is missing; it may be empty: {{}}")
    for name, config in configs.items():
        if name not in available:
            raise StudyError(f"params.yaml: {section}.{name} is unknown; there are {', '.join(available)}")
        schema = kind.config_class(name)
        if not isinstance(schema, type) or not issubclass(schema, Section):
            raise StudyError(f"{kind.file_of(name)}: Config must be a class derived from core/section.py's Section")
        params.validated(f"{section}.{name}", config, schema)


def check_attacks() -> None:
    """The catalogue is sound, and every attack in it has its file; the files are read without importing them."""
    catalogue.check_entries(catalogue.EVERY)
    for entry in catalogue.EVERY:
        registry.look("robustness_study.attacks", entry.name, catalogue.NEEDS)


def check_corruptions(suite: list[str], before: list[str]) -> None:
    """Every corruption that is named exists, and the suite has one of CIFAR-10-C's 15, which its mean is of."""
    known = corruptions.names()
    for key, chosen in (("suite.corruptions", suite), ("corrupt.before", before)):
        for name in chosen:
            if name not in known:
                raise StudyError(f"params.yaml: {key} has {name!r}, which does not exist; there are {', '.join(known)}")
    if not set(suite) & set(corruptions.CIFAR_10_C):
        raise StudyError(
            "params.yaml: suite.corruptions has none of CIFAR-10-C's 15; name at least one of "
            f"{', '.join(corruptions.CIFAR_10_C)}"
        )


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
        check_network(name, checked)
        if checked.crop_padding >= size:
            raise StudyError(
                f"params.yaml: recipes.{name}.crop_padding is {checked.crop_padding}; images of {size} pixels can be "
                f"padded by at most {size - 1}"
            )
    if chosen not in recipes:
        raise StudyError(f"params.yaml: recipe is {chosen!r}; recipes has {', '.join(recipes)}")


def check_network(recipe_name: str, recipe: Recipe) -> None:
    """The file of the recipe's network can be used, and the project's files that it imports; nothing is imported."""
    has_blocks = networks.has_residual_blocks(recipe.network)
    project_imports(ROOT / networks.file_of(recipe.network))
    if recipe.zero_init_residual and not has_blocks:
        reason = networks.NO_BLOCKS.format(recipe.network)
        raise StudyError(f"params.yaml: recipes.{recipe_name}.zero_init_residual is true, but {reason}")


def chosen_network(values: dict[str, Any]) -> dict[str, str]:
    """The network of the recipe that params choose, and a digest of its code; `values` have passed `check`.

    Stages that build a network depend on this, so that another network's file re-trains nothing.
    """
    name = values["recipes"][values["recipe"]]["network"]
    code = code_digest(project_imports(ROOT / networks.file_of(name)))
    return {"network": name, "sha256": code, **networks.libraries(name)}
