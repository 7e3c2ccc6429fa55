"""Reading params.yaml with the parser DVC uses, and naming what is wrong with it in one line.

DVC reads YAML 1.2 (`1e-3` is a number there and a string in YAML 1.1), so this does as well.
Only a stage's `main()` calls `section`; everything else is handed validated values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from robustness_study.core.errors import StudyError
from robustness_study.core.section import Section

PATH = Path("params.yaml")
AnySection = TypeVar("AnySection", bound=Section)


def read(path: Path = PATH) -> dict[str, Any]:
    """The whole file as plain values; StudyError if it is absent or no mapping."""
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except (FileNotFoundError, IsADirectoryError):
        raise StudyError(f"{path} does not exist; run from the top of the repository") from None
    except YAMLError as error:
        raise StudyError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} must hold a mapping of sections")
    return values


def section(name: str, schema: type[AnySection]) -> AnySection:
    """The section `name` ("attack", "recipes.cpu"), validated; StudyError names the wrong key."""
    return validated(name, lookup(read(), name), schema)


def lookup(values: dict[str, Any], name: str) -> Any:
    """The value under a dotted name; StudyError if there is none."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            raise StudyError(f"params.yaml: {name} is missing")
        values = values[part]
    return values


def validated(name: str, value: Any, schema: type[AnySection]) -> AnySection:
    """`value` as a `schema`; StudyError with key, value and what is allowed."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise StudyError("params.yaml: " + "; ".join(describe(name, error))) from None


def describe(name: str, error: ValidationError) -> list[str]:
    """Each fault of a section as `key: value, what is allowed`."""
    faults = []
    for fault in error.errors():
        key = ".".join(filter(None, [name, *(str(part) for part in fault["loc"])]))
        match fault["type"]:
            case "missing":
                faults.append(f"{key} is missing")
            case "extra_forbidden":
                faults.append(f"{key} is unknown (a typing mistake?)")
            case _:
                allowed = fault["msg"].removeprefix("Value error, ")
                faults.append(f"{key} is {fault['input']!r}: {allowed[0].lower()}{allowed[1:]}")
    return faults
