"""Runs tests/test_gpu.py in a process of its own and says what passed, what failed and what was skipped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from robustness_study.core.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/test_gpu.py"


def counts(junit: str) -> dict[str, Any]:
    """What a JUnit file says: how many tests passed, failed and were skipped, and the names of those that failed."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))
    kinds = {"failed": ("failure", "error"), "skipped": ("skipped",)}
    of_kind = {
        name: [str(case.get("name")) for case in cases if any(case.find(tag) is not None for tag in tags)]
        for name, tags in kinds.items()
    }
    failed, skipped = of_kind["failed"], of_kind["skipped"]
    return {
        "passed": len(cases) - len(failed) - len(skipped),
        "failed": len(failed),
        "skipped": len(skipped),
        "failures": failed,
    }


def measure() -> dict[str, Any]:
    """The counts. Raises StudyError if pytest could not run the file."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={written}", TESTS]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if not written.exists():
            raise StudyError(f"pytest ended with status {done.returncode} and no result of {TESTS}; see above")
        found = counts(written.read_text(encoding="utf-8"))
    print(f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped", flush=True)
    return found
