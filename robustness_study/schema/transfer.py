"""The `transfer` section of params.yaml: attacked images of one model are given to all other models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustness_study.core.section import Count, Section, Seed


class Transfer(Section):
    """Each model gets the images that were attacked through every other model, at `epsilon_255` in units of 1/255.

    `images` is how many of the attacked images are used, stratified. `accept` lists alarms that do not stop the stage.
    """

    epsilon_255: int = Field(ge=1, le=255)
    images: Count
    seed: Seed
    accept: list[Literal["transfer_stronger"]]
