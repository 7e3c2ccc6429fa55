"""The `stability` section of params.yaml."""

from __future__ import annotations

from pydantic import Field, field_validator

from robustness_study.core.section import Section, Seed


class Stability(Section):
    """`seeds` are the seeds of the UMAP planes that are compared. `embed.seed` may be one of them."""

    seeds: list[Seed] = Field(min_length=2)

    @field_validator("seeds")
    @classmethod
    def _no_repeats(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values):
            raise ValueError("list each seed only once, because equal seeds give equal planes")
        return values
