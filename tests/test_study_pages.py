"""What README and the docs say of the committed study: `tools/study_pages.py` and its numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from robustness_study.core.errors import StudyError
from robustness_study.results.claims import STUDIES
from tools import sentences, study_pages
from tools.study_numbers import Numbers
from tools.workspace import ROOT

STUDIES_REPORTED = {"0.54", "0.61", "0.59", "0.41", "0.45", "0.57"}  # accuracies of the two studies, typed by hand
PAGES = {path: path.read_text(encoding="utf-8") for path in sentences.pages()}
TEMPLATES = sorted((ROOT / study_pages.TEMPLATES).glob("*.md.jinja"))


def estimate(mean: float, std: float | None = 0.004, n: int = 5) -> dict[str, Any]:
    return {"mean": mean, "std": std, "interval_95": [mean - 0.01, mean + 0.01], "n": n, "images": 10000}


def conclusion(contrast: str, verdict: str, mean: float) -> dict[str, Any]:
    found = {"family": STUDIES, "claim": "It helps", "verdict": verdict, "contrast": contrast, "metric": "test_clean"}
    return found | {"mean": mean, "simultaneous_95": [mean - 0.02, mean + 0.02], "smallest_detectable": 0.0141}


def statistics() -> dict[str, Any]:
    clean, corrupted = estimate(0.81234), estimate(0.7, std=None, n=1)
    difference = {"metric": "test_clean", "model": "angular-clean", "minus": "cross_entropy-clean", "mean": -0.0234}
    return {
        "metrics": {
            "cross_entropy": {"clean_trained": {"test_clean": clean}, "corrupted_trained": {"test_clean": corrupted}}
        },
        "tables": {"suite": {"cross_entropy, clean": {"mCE": estimate(1.0634)}}},
        "transfer": [{"source": "a-clean-0", "target": "b-clean-0", "accuracy": 0.61}],
        "alarms": {"a-clean-0": {"pgd_leaves_some": "text", "few_images": "text"}, "b-clean-0": {"few_images": "text"}},
        "differences": [difference | {"interval_95": [-0.04, 0.01]}],
        "conclusions": [
            conclusion("trained on corrupted − trained on clean, mean over a and b", "contradicted", -0.0712),
            conclusion("angular − cross_entropy, mean over", "supported", 0.012),
            conclusion("angular − cross_entropy, mean over", "supported", 0.012) | {"family": "an idea's"},
        ],
    }


NUMBERS = Numbers(statistics(), "reports/statistics.json")


# --- numbers as text ----------------------------------------------------------------------------------------------


def test_numbers_have_their_digits_and_signs() -> None:
    assert NUMBERS.mean("test_clean", "cross_entropy", "clean") == "0.812"
    assert NUMBERS.spread("test_clean", "cross_entropy", "clean") == "0.812 ± 0.004"
    assert NUMBERS.full("test_clean", "cross_entropy", "clean") == "0.812 ± 0.004 (0.802–0.822)"
    assert NUMBERS.images("test_clean", "cross_entropy", "clean") == "10,000"
    assert NUMBERS.in_points("test_clean", "cross_entropy", "clean") == "81.2"
    assert NUMBERS.row("suite", "cross_entropy, clean", "mCE") == "1.063 ± 0.004"
    assert NUMBERS.row_mean("suite", "cross_entropy, clean", "mCE", 2) == "1.06"
    assert NUMBERS.difference("test_clean", "angular-clean", "cross_entropy-clean") == "−2.3 (−4.0 to +1.0)"
    assert NUMBERS.cost("test_clean", "angular-clean", "cross_entropy-clean") == "2.3"
    assert NUMBERS.claim("corrupted", "test_clean", "contradicted") == "−7.1 (−9.1 to −5.1)"
    assert NUMBERS.claim("angular", "test_clean", "supported") == "+1.2 (−0.8 to +3.2)"
    assert NUMBERS.answer("angular", "test_clean") == "**supported**, +1.2 (−0.8 to +3.2)"
    assert NUMBERS.detectable("angular", "test_clean") == "1.4"
    assert NUMBERS.transferred("a-clean-0", "b-clean-0") == "0.610"
    assert NUMBERS.alarms() == {"pgd_leaves_some": ["a-clean-0"], "few_images": ["a-clean-0", "b-clean-0"]}
    assert len(NUMBERS.conclusions()) == 2


def test_one_seed_has_no_spread() -> None:
    assert NUMBERS.spread("test_clean", "cross_entropy", "corrupted") == "0.700"


def test_a_number_that_the_study_lacks_stops() -> None:
    with pytest.raises(StudyError, match=r"no fgsm_2 of cross_entropy trained on clean"):
        NUMBERS.mean("fgsm_2", "cross_entropy", "clean")
    with pytest.raises(StudyError, match=r"no row 'x' of 'cross_entropy, clean' in the table suite"):
        NUMBERS.row("suite", "cross_entropy, clean", "x")
    with pytest.raises(StudyError, match=r"no difference in test_clean of a minus b"):
        NUMBERS.difference("test_clean", "a", "b")
    with pytest.raises(StudyError, match=r"no images of x that were attacked through a-clean-0"):
        NUMBERS.transferred("a-clean-0", "x")


def test_another_verdict_or_direction_than_the_template_names_stops() -> None:
    with pytest.raises(StudyError, match=r"It helps: contradicted, but a template says supported; rewrite it"):
        NUMBERS.claim("corrupted", "test_clean", "supported")
    with pytest.raises(StudyError, match=r"names the verdict 'suported'"):
        NUMBERS.claim("corrupted", "test_clean", "suported")
    turned = statistics()
    turned["differences"][0]["mean"] = 0.01
    with pytest.raises(StudyError, match=r"angular-clean has more test_clean than cross_entropy-clean"):
        Numbers(turned, "reports/statistics.json").cost("test_clean", "angular-clean", "cross_entropy-clean")


# --- pages --------------------------------------------------------------------------------------------------------


def a_project(top: Path, template: str) -> Path:
    (top / "reports").mkdir()
    (top / study_pages.STUDY).write_text(json.dumps(statistics()), encoding="utf-8")
    for train_set in ("clean", "corrupted"):
        cell = top / "reports/cells/cross_entropy" / f"{train_set}-0"
        cell.mkdir(parents=True)
        record = {"model": f"cross_entropy-{train_set}-0", "recipe": "cpu", "trained_on": {"torch": "2.15.0"}}
        (cell / "evaluate.json").write_text(json.dumps(record), encoding="utf-8")
    (top / study_pages.TEMPLATES).mkdir(parents=True)
    (top / study_pages.TEMPLATES / "some.md.jinja").write_text(template, encoding="utf-8")
    return top


PAGE = "# Title\n\n<!-- the study's part: some -->\nold text\n" + study_pages.END + "\n\nBy hand.\n"


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    top = a_project(
        tmp_path, 'Accuracy {{ mean("test_clean", "cross_entropy", "clean") }}, torch {{ trained_on.torch }}\n'
    )
    digest = study_pages.digest(top)
    made = study_pages.with_parts(PAGE, study_pages.environment(top), digest)
    marked = f"<!-- the study's part: some {digest} -->"
    assert made == f"# Title\n\n{marked}\nAccuracy 0.812, torch 2.15.0\n\n{study_pages.END}\n\nBy hand.\n"
    assert study_pages.with_parts(made, study_pages.environment(top), digest) == made


def test_models_that_were_trained_differently_stop(tmp_path: Path) -> None:
    top = a_project(tmp_path, "")
    other = top / "reports/cells/cross_entropy/clean-0/evaluate.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"recipe": "gpu"}), encoding="utf-8")
    with pytest.raises(StudyError, match=r"cross_entropy-corrupted-0 was trained on .*train it again"):
        study_pages.environment(top)


def test_each_template_has_its_place_and_each_mark_its_template() -> None:
    named = [found["name"] for page in PAGES.values() for found in study_pages.PART.finditer(page)]
    assert sorted(named) == [path.name.removesuffix(".md.jinja") for path in TEMPLATES]
    assert sum(page.count("<!-- the study's part:") for page in PAGES.values()) == len(named), "a mark has no end"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_number_of_the_study_is_typed_into_a_template(template: Path) -> None:
    text = re.sub(r"\{\{.*?\}\}|\{#.*?#\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"arXiv \d{4}\.\d{5}|CIFAR-10\.1", "", text)
    assert set(re.findall(r"\d+\.\d+", text)) <= STUDIES_REPORTED


def test_pages_tell_of_the_study_in_reports() -> None:
    digest = study_pages.digest()
    of = {found["digest"] for page in PAGES.values() for found in study_pages.PART.finditer(page)}
    if of != {digest}:
        pytest.skip("reports/ holds another study than the one that the pages tell of: `python -m tools.study_pages`")
    templates = study_pages.environment()
    for path, page in PAGES.items():
        assert study_pages.with_parts(page, templates, digest) == page, path.name
