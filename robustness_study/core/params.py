"""Reads and validates params.yaml. An error is one line with the key, the value and what is allowed.

It reads the values that DVC reads, by the rules of YAML 1.2. There `1e-3` is a number; in YAML 1.1 it is a string.
Only the `main()` of a stage calls `section` and `of_recipe`. All other code receives validated values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from robustness_study.core.errors import StudyError
from robustness_study.core.files import refuse_irregular
from robustness_study.core.section import Section

PATH = Path("params.yaml")
MOST_BYTES = 100_000  # the parser needs seconds for as many
TEXTS = ("download.folder",)  # keys whose value is text whatever it looks like: a folder may be called 2024 or 007
AnySection = TypeVar("AnySection", bound=Section)


def read(path: Path = PATH) -> dict[str, Any]:
    """The whole file as plain values. Raises StudyError if it does not exist or is not a mapping."""
    refuse_irregular(path, "restore it with git")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise StudyError(f"{path} has more than {MOST_BYTES:,} bytes, which no params need; restore it with git")
    try:
        values = YAML(typ="safe", pure=True).load(path)
        written = YAML(typ="base", pure=True).load(path)  # every single value as the text that is written there
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist here; run the command from the top folder of the repository") from None
    except (YAMLError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        # Only some are of the parser. A date with month 13, for example, is a ValueError.
        hint = "" if isinstance(error, YAMLError) else " (a text that looks like a number or a date needs quotes)"
        raise StudyError(f"{path} is not valid YAML; correct it: {' '.join(str(error).split())}{hint}") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} must hold keys with values, for example `recipe: cpu`; restore it with git")
    for name in TEXTS:
        top, key = name.split(".")
        value = values[top].get(key) if isinstance(values.get(top), dict) else None
        if not isinstance(value, str | list | dict | None):
            values[top][key] = written[top][key]
    return values


def section(name: str, schema: type[AnySection]) -> AnySection:
    """The validated section `name` (for example "attack" or "recipes.cpu"). Raises StudyError with the wrong key."""
    return validated(name, lookup(read(), name), schema)


def of_recipe(key: str) -> Any:
    """The value of a key of the chosen recipe. Raises StudyError if it is missing."""
    values = read()
    return lookup(values, f"recipes.{lookup(values, 'recipe')}.{key}")


def lookup(values: dict[str, Any], name: str) -> Any:
    """The value at a dotted name such as "recipes.cpu". Raises StudyError if the key is missing."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            raise StudyError(f"params.yaml: {name} is missing; add it")
        values = values[part]
    return values


def validated(name: str, value: Any, schema: type[AnySection]) -> AnySection:
    """`value` as an object of the class `schema`. Raises StudyError with key, value and what is allowed."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise StudyError("params.yaml: " + "; ".join(describe(name, error))) from None


def describe(name: str, error: ValidationError) -> list[str]:
    """One text for each mistake in a section: the key, its value and what is allowed."""
    faults = []
    for fault in error.errors():
        key = ".".join(filter(None, [name, *(str(part) for part in fault["loc"])]))
        match fault["type"]:
            case "missing":
                faults.append(f"{key} is missing (add it)")
            case "extra_forbidden":
                faults.append(f"{key} is unknown (check the spelling or remove it)")
            case _:
                allowed = fault["msg"].removeprefix("Value error, ")
                faults.append(f"{key} is {fault['input']!r}: {allowed[0].lower()}{allowed[1:]}")
    return faults
