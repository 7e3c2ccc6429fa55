"""The `stability` section of params.yaml."""

from __future__ import annotations

from pydantic import Field

from stages.lib.schema.base import Section


class Stability(Section):
    """`seeds` of the planes that are compared, `embed.seed` or not."""

    seeds: list[int] = Field(min_length=2)
