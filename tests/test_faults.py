"""One fault of each kind of `bench.faults` in a tiny study; the program itself injects hundreds."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FULL_DPI

from bench.faults import study
from bench.faults.__main__ import KINDS, Kind
from bench.faults.answers import RIGHT, answered, as_said
from robustness_study import plotting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    top = tmp_path_factory.mktemp("faults") / "base"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(plotting, "DPI", FULL_DPI)  # some faults meet stages in processes of their own
        study.make(top)
        yield top


@pytest.mark.parametrize("inject", KINDS, ids=lambda inject: inject.__name__)
@pytest.mark.parametrize("number", range(2))
def test_a_fault_is_answered_in_one_line_or_changes_nothing(inject: Kind, number: int, base: Path) -> None:
    top = base.with_name("study")
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(base, top, symlinks=True)
    rng = random.Random(f"{inject.__name__} {number}")
    fault = rng.choice(list(inject(rng)))
    assert fault.answer(top) in RIGHT, fault.name


def test_an_answer_that_is_wrong_is_noticed(base: Path) -> None:
    """Results that change without a word, an end without a line, and a stage that does not end."""
    assert as_said(study.Done(None, "")) == "hang"
    assert as_said(study.Done(1, "Traceback (most recent call last):\n  …\nKeyError: 'a'")) == "traceback"
    assert as_said(study.Done(1, "")) == "unclear: ''"
    assert str(as_said(study.Done(1, f"error: {'x' * 400}\n"))).startswith("unclear")
    assert as_said(study.Done(1, "error: a is broken; delete it\n")) == "refused"
    top = base.with_name("study")
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(base, top, symlinks=True)
    before = study.contents(top)
    assert answered(top, before, "headline") == "same results"
    (top / "reports/metrics.json").write_text("{}")
    assert answered(top, study.contents(top), "headline") == "believed"
