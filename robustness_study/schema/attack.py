"""The `attack` section of params.yaml."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from robustness_study.core.section import Section

HEADLINE_EPSILONS_255 = (1, 2, 4, 8)
ALARMS = (  # robustness_study/attacks/alarms.py
    "zero_gradients",
    "not_clean_at_zero",
    "rises_with_epsilon",
    "rescaled_logits",
    "noise_stronger",
    "pgd_weaker",
    "pgd_leaves_some",
    "square_stronger",
    "knn_masked",
)


class ProjectedGradientDescent(Section):
    """PGD on `images` of the attacked ones; nothing should survive `large_epsilon_255`."""

    images: int = Field(ge=1)
    epsilons_255: list[int] = Field(min_length=1)
    large_epsilon_255: int = Field(ge=1, le=255)
    steps: int = Field(ge=1)
    restarts: int = Field(ge=1)


class Square(Section):
    """The Square attack on `images` of those that PGD attacks, each asked for at most `queries` times."""

    images: int = Field(ge=1)
    epsilon_255: int = Field(ge=1, le=255)
    queries: int = Field(ge=1)


class Attack(Section):
    """`epsilons_255` are the attack's sizes in grey levels; `images` test images are attacked, stratified.

    `control_images` of them serve for random signs, for the logits rescaled and for the neighbours' stand-in, a soft
    one whose cosines are divided by `neighbours_temperature`; `accept` names alarms.
    """

    epsilons_255: list[int] = Field(min_length=1)
    images: int = Field(ge=1)
    control_images: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    seed: int = Field(ge=0)
    pgd: ProjectedGradientDescent
    square: Square
    neighbours_temperature: float = Field(gt=0)
    examples: int = Field(ge=1, le=20)
    example_epsilon_255: int = Field(ge=1, le=255)
    accept: list[str]

    @field_validator("epsilons_255")
    @classmethod
    def _ladder(cls, values: list[int]) -> list[int]:
        if sorted(set(values)) != values or values[0] != 0 or values[-1] > 255:
            raise ValueError("whole grey levels that rise from 0 to at most 255 are allowed, as in [0, 1, 2, 4, 8]")
        absent = [str(value) for value in HEADLINE_EPSILONS_255 if value not in values]
        if absent:
            raise ValueError(f"{', '.join(absent)} must be in it: reports/metrics.json holds it as fgsm_{absent[0]}")
        return values

    @field_validator("accept")
    @classmethod
    def _known_alarms(cls, values: list[str]) -> list[str]:
        unknown = [value for value in values if value not in ALARMS]
        if unknown:
            raise ValueError(f"{unknown[0]} is no alarm; there are {', '.join(ALARMS)}")
        return values

    @model_validator(mode="after")
    def _compared_with_each_other(self) -> Attack:
        own = [value for value in self.epsilons_255 if value > 0]
        if not set(self.pgd.epsilons_255) <= set(own) or self.pgd.epsilons_255 != sorted(set(self.pgd.epsilons_255)):
            raise ValueError(f"pgd.epsilons_255 must rise and be among {own}, to be compared with the first attack")
        if self.square.epsilon_255 not in self.pgd.epsilons_255:
            raise ValueError(f"square.epsilon_255 must be one of pgd.epsilons_255 ({self.pgd.epsilons_255})")
        return self
