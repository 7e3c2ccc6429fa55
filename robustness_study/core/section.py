"""The base class of all params sections: fixed values, strict types, no unknown keys. Types that sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _each_once(values: list[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} is listed more than once; list each only once")
    return values


# Larger numbers do not fit into an int64 of numpy or torch, or into the name of a file.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]  # of images; a stage takes all images if there are fewer
Names = Annotated[list[str], AfterValidator(_each_once)]


class Section(BaseModel):
    """A validated section of params.yaml that cannot change. Unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
