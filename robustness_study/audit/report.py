"""`report.md` of an audit: its tables and pictures with what they mean."""

from __future__ import annotations

from pathlib import Path

from robustness_study.audit import texts
from robustness_study.audit.study import Audit
from robustness_study.core.files import write_text
from robustness_study.report import attack_checks, attack_sections, explanations, pictures, tables
from robustness_study.report.markdown import bullets, escaped, table

DRAWN = ("ladder", "suite", "severity", "confusion")  # the pictures of the study that an audit has too
FIGURES = {picture.name: picture for picture in pictures.PICTURES if picture.name in DRAWN}

GROUPS = (
    "`main` is the mean over CIFAR-10-C's main corruptions, `held out` over its other four. `noise`, `blur`, `weather` "
    "and `digital` are the means over its four families. Severities 1 to 5 count the same."
)


def write(out: Path, audit: Audit) -> None:
    """Write `report.md`, `figures/` and `tables/` into the folder."""
    for name, picture in FIGURES.items():
        picture.draw(out / f"figures/{name}.png", audit)
    for name, frame in audit.tables.items():
        text = tables.in_columns(frame).to_csv(float_format="%.6f", lineterminator="\n")
        write_text(out / f"tables/{name}.csv", text)
    full = audit.accuracy_in_full.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_text(out / "tables/suite_in_full.csv", full)
    write_text(out / "report.md", markdown(audit))


def markdown(audit: Audit) -> str:
    """The text of report.md; pictures are linked by their paths beside it."""
    first = audit.first
    dataset = first.evaluate["dataset"]
    parts = [
        "# Robustness report",
        f"Models: {', '.join(f'`{result.cell.key}`' for result in audit.every)}. Images: "
        f"**{escaped(dataset['name'])}** from {escaped(dataset['origin'])} ({escaped(dataset['checksum'])}).",
        "## Results",
        _summaries(audit, "summary"),
        texts.INTERVALS,
        texts.ROBUST,
        *_alarms(audit),
    ]
    if audit.differences:
        parts += ["## Comparison", texts.compared(audit), table(audit.differences_table)]
    parts += ["## Fast gradient sign attack", _summaries(audit, "fast_gradient_sign"), *_picture(audit, "ladder")]
    parts += ["## Other attacks", _summaries(audit, "other_attacks")]
    checks = attack_checks.attack_checks(audit.cells).rename(index={"accepted alarms": "alarms"})
    parts += [attack_sections.CHECKS, table(checks)]
    parts += [
        "## Corruptions",
        GROUPS,
        _summaries(audit, "suite"),
        *_picture(audit, "suite"),
        *_picture(audit, "severity"),
    ]
    parts += ["## Beyond accuracy", _summaries(audit, "beside_accuracy")]
    parts += ["## Recall of each class", _summaries(audit, "recall_per_class"), *_picture(audit, "confusion")]
    planes = [result for result in audit.every if result.plane is not None]
    if planes:
        parts += ["## Features", explanations.FEATURES, table(audit.features.dropna())]
        parts += [f"![UMAP of {each.cell.key}](models/{each.cell.key}/plane.png)" for each in planes]
    parts += ["## What was tested", bullets(texts.tested(first))]
    parts += ["## What was not tested", bullets(texts.not_tested(first))]
    return "\n\n".join(parts) + "\n"


def _alarms(audit: Audit) -> list[str]:
    lines = texts.alarms(audit)
    return [texts.ALARMS, "\n>\n".join(f"> **Alarm**, {line}." for line in lines)] if lines else [texts.NO_ALARM]


def _summaries(audit: Audit, name: str) -> str:
    return table(tables.shown(audit.tables[name]))


def _picture(audit: Audit, name: str) -> list[str]:
    return FIGURES[name].lines(audit)
