"""The list of corruptions: all functions in this package with the decorator `@corruption(...)`.

Each file with such functions is a family. To add a corruption, add a function to a file of this folder, or add a file.
The names are read from the source code with `ast`, so listing them imports neither torch nor the families.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import from_root, parsed

if TYPE_CHECKING:
    from torch import Tensor

    from robustness_study.corruptions.draws import Draws

    Function = Callable[[Tensor, Any, Draws], Tensor]

FOLDER = Path(__file__).parent
FIRST = ("noise", "blur", "weather", "digital")  # the order of CIFAR-10-C; other families follow in alphabetical order
SEVERITIES = (1, 2, 3, 4, 5)
RESERVED = {
    "clean",
    "main",
    "held_out",
    "seen",
    "unseen",
}  # row names in the tables of the report, like the families


@dataclass(frozen=True)
class Corruption:
    """One corruption: its function and its constants at the five severities."""

    name: str
    severities: tuple[Any, ...]
    function: Function

    def __call__(self, images: Tensor, severity: int, draws: Draws) -> Tensor:
        """Corrupted images, in the same shape and range as `images`: N×3×H×H, float32 in [0, 1].

        `severity` is 0 (unchanged) to 5, for all images. Raises StudyError for any other severity.
        """
        check_severity(severity)
        if severity == 0:
            return images
        return self.function(images, self.severities[severity - 1], draws).clamp(0, 1)


def check_severity(severity: Any) -> None:
    """Raise StudyError if `severity` is not a whole number from 0 to 5."""
    if severity not in (0, *SEVERITIES):
        raise StudyError(f"severity is {severity}; it must be a whole number from 0 (unchanged) to 5")


def corruption(*severities: Any) -> Callable[[Function], Corruption]:
    """A decorator that makes a function a corruption. The arguments are its constants at severities 1 to 5.

    The function takes images N×3×H×H, float32 in [0, 1], the constants of one severity and a `Draws` object for random
    numbers. It returns images of the same shape. Values outside [0, 1] are clipped afterwards. It must not change its
    input. Raises StudyError if there are not five severities.
    """

    def decorate(function: Function) -> Corruption:
        if len(severities) != len(SEVERITIES):
            raise StudyError(_wrong_number(function.__name__, len(severities)))
        return Corruption(function.__name__, severities, function)

    return decorate


@cache
def families() -> dict[str, tuple[str, ...]]:
    """Family → its corruptions, in the order of the source code. A family is a file of this package.

    Raises StudyError if a file is not valid Python, if a corruption does not have five severities, if a name is used
    twice, or if it is also the name of a row in the tables.
    """
    found = {path.stem: _decorated(path) for path in sorted(FOLDER.glob("*.py"))}
    ordered = [*FIRST, *(family for family in found if family not in FIRST)]
    kept = {family: found[family] for family in ordered if found.get(family)}
    owner: dict[str, str] = {}
    for family, members in kept.items():
        for name in members:
            if name in RESERVED or name in kept:
                raise StudyError(
                    f"{family}.py has a corruption {name!r}, but a row of the tables has this name; rename it"
                )
            if name in owner:
                raise StudyError(f"{family}.py and {owner[name]}.py both have a corruption {name!r}; rename one")
            owner[name] = family
    return kept


def _decorated(path: Path) -> tuple[str, ...]:
    """The names of the top-level functions of a file that have the decorator `@corruption(...)`."""
    found = []
    for node in parsed(path).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and _last_name(call.func) == "corruption":
                found.append(node.name)
                known = not any(isinstance(each, ast.Starred) for each in call.args)
                if known and len(call.args) != len(SEVERITIES):
                    where = f"{from_root(path)}, line {call.lineno}"
                    raise StudyError(f"{where}: {_wrong_number(node.name, len(call.args))}")
    return tuple(found)


def _wrong_number(name: str, constants: int) -> str:
    return f"@corruption of {name} has constants for {constants} severities; it must have 5"


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def names() -> list[str]:
    """The names of all corruptions, sorted by family."""
    return [name for members in families().values() for name in members]


def family_of(name: str) -> str:
    """The family of a corruption. Raises StudyError, with all names, if the corruption does not exist."""
    for family, members in families().items():
        if name in members:
            return family
    raise StudyError(f"there is no corruption {name!r}; choose one of {', '.join(names())}")


def find(name: str) -> Corruption:
    """The corruption with this name. Imports its family, and so torch.

    Raises StudyError if the corruption does not exist or its family cannot be imported.
    """
    found: Corruption = getattr(registry.imported(f"robustness_study.corruptions.{family_of(name)}"), name)
    return found
