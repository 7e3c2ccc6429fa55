"""`report.html` of an audit: the study's page, which begins with the results of these models."""

from __future__ import annotations

from typing import Any

from robustness_study.audit import texts
from robustness_study.audit.images import Changed
from robustness_study.audit.study import Audit
from robustness_study.report.tables import shown as as_texts
from robustness_study.webpage import document, shown


def text(audit: Audit, changed: Changed) -> str:
    """The whole file."""
    models = [shown.read(result) for result in audit.every]
    data = changed.data
    found = document.content(
        audit, models, data.images, data.labels, changed.copies, changed.settings.as_dict(), made(audit)
    )
    found["static"]["audit"] = content(audit)
    return document.page(found)


def content(audit: Audit) -> dict[str, Any]:
    """What replaces the verdicts of a study."""
    summary = as_texts(audit.tables["summary"])
    pairs = audit.differences_table if audit.differences else None
    return {
        "columns": ["tested on", *map(str, summary.columns)],
        "rows": [list(map(str, row)) for row in summary.itertuples()],
        "pairs": None
        if pairs is None
        else {"columns": ["difference", *pairs.columns], "rows": [list(map(str, row)) for row in pairs.itertuples()]},
        "how": [line.replace("*", "") for line in (texts.INTERVALS, texts.ROBUST)],
        "compared": texts.compared(audit).replace("*", ""),
        "tested": texts.tested(audit.first),
        "not_tested": [line.replace("`", "") for line in texts.not_tested(audit.first)],
    }


def made(audit: Audit) -> dict[str, str]:
    """How the results were made: images, models, machine."""
    first = audit.first.evaluate
    dataset = first["dataset"]
    found = {
        "dataset": f"{dataset['name']} from {dataset['origin']}",
        "checksum": str(dataset["checksum"]),
        "scored with": ", ".join(f"{name} {value}" for name, value in first["computed_with"].items()),
    }
    for result in audit.every:
        found[result.cell.key] = ", ".join(f"{name} {value}" for name, value in result.evaluate["about"].items())
    return found
