"""The `download` section of params.yaml: which images are studied."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from robustness_study.core.section import Section

CIFAR10_SIDE = 32  # here, so that a wrong size is named before any work


class Download(Section):
    """`folder` is read only by the dataset of that name; `size` is the side of the images, in pixels."""

    dataset: Literal["cifar10", "digits", "folder"]
    folder: str | None
    size: int = Field(ge=8, le=256)

    @field_validator("folder")
    @classmethod
    def _set_where_it_is_read(cls, folder: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("dataset") == "folder" and not folder:
            raise ValueError("set it to the folder of your images, PATH of PATH/{train,test}/CLASS/*.{png,jpg}")
        return folder

    @field_validator("size")
    @classmethod
    def _that_of_the_dataset(cls, size: int, others: ValidationInfo) -> int:
        if others.data.get("dataset") == "cifar10" and size != CIFAR10_SIDE:
            raise ValueError(f"the images of cifar10 have {CIFAR10_SIDE}, set that")
        return size
