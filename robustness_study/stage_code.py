"""Which project files each stage runs. `check` writes them, with their digests, into data/code/, for DVC.

So a change to a file re-runs the stages that run it, and no other stage. No list of files is kept by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from types import ModuleType

from robustness_study import corruptions, datasets, losses, natural, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.core import registry
from robustness_study.core.imports import ROOT, project_imports

# Ideas are found by name at run time, so no import statement leads to their files. Of these ideas a stage runs one:
ONE_IDEA: dict[str, tuple[ModuleType, ...]] = {
    "download": (datasets,),
    "training_set": (training_sets,),
    "train": (losses, training_sets),
    "evaluate": (losses,),
    "attack": (losses,),
    "stress": (losses,),
}
# dvc.yaml has that one's file among the stage's deps, for example robustness_study/losses/${item.loss}.py.
# Of these ideas a stage runs all:
ALL_IDEAS: dict[str, tuple[ModuleType, ...]] = {
    "check_sizes": (losses,),
    "natural": (natural,),
    "transfer": (losses,),
    "compare": (training_sets,),
    "report": (training_sets,),
    "headline": (training_sets,),
}
SETTINGS_ONLY = ("compare", "report", "headline")  # of each training set these run only its settings
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
        own = _files(kind)
        found |= _imports(*(_that_attack(own) if (stage, kind) == ("train", training_sets) else own)) - set(own)
    for kind in ALL_IDEAS.get(stage, ()):
        found |= set(_files(kind)) if stage in SETTINGS_ONLY else _imports(*_files(kind))
    if stage == ATTACKS:
        found |= _imports(*(registry.file_of(catalogue.__name__.rpartition(".")[0], e.name) for e in catalogue.RUN))
    if CORRUPTIONS in found:
        found |= _imports(*(f"{CORRUPTIONS.rpartition('/')[0]}/{family}.py" for family in corruptions.families()))
    return found | _not_python(found)


def digests(paths: Iterable[str]) -> str:
    """A line for each file: the SHA-256 of its bytes, in hexadecimal, two spaces, its path; as `sha256sum` prints."""
    return "".join(f"{hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}  {path}\n" for path in sorted(paths))


def _imports(*paths: str) -> set[str]:
    return project_imports(*(ROOT / path for path in paths))


def _files(kind: ModuleType) -> list[str]:
    of_kind: Callable[[], list[str]] = kind.names
    return [registry.file_of(kind.__name__, name) for name in of_kind()]


def _not_python(files: Iterable[str]) -> set[str]:
    """The other files in the packages of these files, such as the scripts and styles of the page."""
    packages = {folder for path in files if (folder := (ROOT / path).parent).parent != ROOT}
    others = (path for folder in packages for path in folder.rglob("[!.]*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in others if path.suffix not in (".py", ".pyc")}


def _that_attack(files: Iterable[str]) -> list[str]:
    """The training sets that attack batches: only these run while a model trains. The others made images before."""
    return [path for path in files if "\ndef batch_attack(" in (ROOT / path).read_text(encoding="utf-8")]
