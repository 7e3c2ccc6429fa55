"""The `transfer` section of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustness_study.core.section import Section


class Transfer(Section):
    """Each model is given the images of every other at `epsilon_255`; `images` of the attacked ones, stratified.

    `accept` names alarms.
    """

    epsilon_255: int = Field(ge=1, le=255)
    images: int = Field(ge=1)
    seed: int = Field(ge=0)
    accept: list[Literal["transfer_stronger"]]
