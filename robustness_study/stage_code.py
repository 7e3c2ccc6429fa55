"""Which project files each stage runs. `check` writes them, with their digests, into data/code/, for DVC.

So a change to a file re-runs the stages that run it, and no other stage. Files are found by import statements. Ideas
are found by name at run time, so the two tables below say which stage runs which kind. A stage that runs a kind which
is not in them needs an entry; `test_a_stage_runs_no_code_that_its_deps_lack` notices a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from robustness_study import corruptions, datasets, losses, natural, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT, project_imports

# Of these kinds a stage runs one idea. dvc.yaml has its file among the stage's deps, such as
# robustness_study/losses/${item.loss}.py.
ONE_IDEA: dict[str, tuple[ModuleType, ...]] = {
    "download": (datasets,),
    "training_set": (training_sets,),
    "train": (losses, training_sets),
    "evaluate": (losses,),
    "attack": (losses,),
    "stress": (losses,),
}

# Of these kinds a stage runs every idea.
ALL_IDEAS: dict[str, tuple[ModuleType, ...]] = {
    "check_sizes": (losses,),
    "natural": (natural,),
    "transfer": (losses,),
    "compare": (training_sets,),
    "report": (training_sets,),
    "headline": (training_sets,),
}
ATTACKS = "attack"  # the stage that runs every attack of the catalogue
CORRUPTIONS = "robustness_study/corruptions/registry.py"  # whoever imports this finds every corruption by name


def names() -> list[str]:
    """The names of the stages, sorted: one for each file in stages/."""
    return sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")


def files_of(stage: str) -> set[str]:
    """The project files that a stage runs, as posix paths from the root.

    Not among them: the network's file and what it imports, which `data/network.json` covers, and the file of an idea
    in `ONE_IDEA`. Raises StudyError, with file and line, if a file is not valid Python.
    """
    found = _imports("stages/__init__.py", f"stages/{stage}.py")
    found -= {networks.file_of(name) for name in networks.names()} | {networks.file_of(networks.TIMM)}
    for kind in ONE_IDEA.get(stage, ()):
        attacking = (stage, kind) == ("train", training_sets)
        for path in _files(kind, _attacks_batches if attacking else lambda _: True):
            found |= _imports_of_idea(path) - {path}
    for kind in ALL_IDEAS.get(stage, ()):
        found.update(*map(_imports_of_idea, _files(kind)))
    if stage == ATTACKS:
        package = catalogue.__name__.rpartition(".")[0]
        found.update(*(_imports_of_idea(registry.file_of(package, entry.name)) for entry in catalogue.RUN))
    if CORRUPTIONS in found:
        found |= _imports(*(f"{CORRUPTIONS.rpartition('/')[0]}/{family}.py" for family in corruptions.families()))
    return found | _assets(found)


def _imports(*paths: str) -> set[str]:
    return project_imports(*(ROOT / path for path in paths))


def _imports_of_idea(path: str) -> set[str]:
    """The idea's file and what it imports; the file alone if it is not valid Python, as it may be one not in use."""
    try:
        return _imports(path)
    except StudyError:
        return {path}


def _files(kind: ModuleType, wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
    of_kind: Callable[[], list[str]] = kind.names
    return [registry.file_of(kind.__name__, name) for name in of_kind() if wanted(name)]


def _attacks_batches(train_set: str) -> bool:
    """Whether the training set attacks batches. Only such a set runs while a model trains."""
    try:
        defined = registry.look(training_sets.__name__, train_set, ())
    except StudyError:  # not valid Python, as a set may be that is not in use
        return False
    return bool({"batch_attack", "*"} & set(defined))


def _assets(files: Iterable[str]) -> set[str]:
    """The files in the folders of these files' packages that are no packages, such as the scripts of the page."""
    packages = {(ROOT / path).parent for path in files}
    folders = [each for package in packages for each in package.iterdir() if each.is_dir() and _is_asset(each)]
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found}


def _is_asset(folder: Path) -> bool:
    return not folder.name.startswith((".", "_")) and not any(folder.rglob("*.py"))
