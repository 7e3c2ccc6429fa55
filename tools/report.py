"""`python -m tools.report --against REVISION`: the report page, with the figures of another git revision beside these.

It reads that revision's `reports/statistics.json` by `git show`, and writes `reports/against.html`, which git ignores.
Without `--against` it writes the page that the stage `report` writes, to the same path.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from typing import Any

from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, write_text
from robustness_study.core.program import run
from robustness_study.webpage import against, document
from stages import report

STATISTICS = "reports/statistics.json"


def statistics_of(revision: str) -> Any:
    """The metrics in `reports/statistics.json` at a git revision; None if they are not where they are today.

    Raises StudyError, with git's words, if the revision has no such file, or if it is broken.
    """
    try:
        done = subprocess.run(
            ["git", "show", f"{revision}:./{STATISTICS}"], capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise StudyError(f"git cannot be run ({error.strerror}); install git") from None
    if done.returncode:
        said = done.stderr.strip().removeprefix("fatal: ").splitlines() or ["git failed"]
        raise StudyError(f"--against {revision}: {said[0]}; name a commit, a branch or a tag that has {STATISTICS}")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise StudyError(f"--against {revision}: its {STATISTICS} is broken; name another revision") from None
    return found.get("metrics") if isinstance(found, dict) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REVISION", help="a commit, branch or tag")
    revision = parser.parse_args().against
    if revision is None:
        report.main()
        return
    there = statistics_of(revision)
    here = read_json(STATISTICS, "metrics")["metrics"]
    compared = against.section(here, there, revision)
    found = report.content()
    found["static"]["against"] = compared
    found["data"]["csv"]["against"] = compared["csv"]
    write_text("reports/against.html", document.page(found))
    print("reports/against.html: open it in a browser")


if __name__ == "__main__":
    run(main)
