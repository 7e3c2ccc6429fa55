"""What README and the docs say of the committed study: `tools/study_pages.py` and its numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import report, robust_training
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json
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
    found = {
        "family": STUDIES,
        "claim": f"It {contrast.split()[0]}",
        "verdict": verdict,
        "contrast": contrast,
        "metric": "test_clean",
    }
    others = {"another": {"verdict": "contradicted", "p_holm": 0.0171}}
    return found | {
        "other_tests": others,
        "mean": mean,
        "simultaneous_95": [mean - 0.02, mean + 0.02],
        "smallest_detectable": 0.0141,
    }


def statistics() -> dict[str, Any]:
    clean, corrupted = estimate(0.81234, n=1), estimate(0.7, std=None, n=1)
    difference = {"metric": "test_clean", "model": "angular-clean", "minus": "cross_entropy-clean", "mean": -0.0234}
    return {
        "metrics": {
            "cross_entropy": {"clean_trained": {"test_clean": clean}, "corrupted_trained": {"test_clean": corrupted}}
        },
        "tables": {"suite": {"cross_entropy, clean": {"mCE": estimate(1.0634)}}},
        "alarms": {
            "a-clean-0": {"few_images": "text"},
            "a-clean-1": {"few_images": "text"},
            "b_c-d-2": {"few_images": "t"},
        },
        "differences": [difference | {"simultaneous_95": [-0.04, -0.01]}],
        "conclusions": [
            conclusion("trained on corrupted − trained on clean, mean over a and b", "contradicted", -0.0712),
            conclusion("angular − cross_entropy, mean over", "supported", 0.012),
            conclusion("angular − cross_entropy, mean over", "contradicted", -0.03) | {"family": "an idea's"},
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
    assert NUMBERS.full_row("suite", "cross_entropy, clean", "mCE") == "1.063 ± 0.004 (1.053–1.073)"
    assert NUMBERS.less(estimate(0.7), estimate(0.8)) == "0.700 against 0.800"
    assert NUMBERS.alike(estimate(0.7), estimate(0.705)) == "0.700 and 0.705"
    assert NUMBERS.single("test_clean", "angular-clean", "cross_entropy-clean", -1) == "−2.3 (−4.0 to −1.0)"
    assert NUMBERS.cost("test_clean", "angular-clean", "cross_entropy-clean") == "2.3"
    assert NUMBERS.claim("corrupted", "test_clean", "contradicted") == "−7.1 (−9.1 to −5.1)"
    assert NUMBERS.claim("angular", "test_clean", "supported") == "+1.2 (−0.8 to +3.2)"
    assert NUMBERS.claim("angular", "test_clean", "contradicted", "an idea's") == "−3.0 (−5.0 to −1.0)"
    assert NUMBERS.answer("angular", "test_clean") == "**supported**, +1.2 (−0.8 to +3.2)"
    assert NUMBERS.by_test("another", "corrupted", "test_clean", "contradicted") == "p = 0.017"
    assert NUMBERS.alarmed("few_images") == "`a-clean` (seeds 0, 1), `b_c-d` (seed 2)"
    assert Numbers({"alarms": {}}, "x").alarmed("few_images") == ""
    assert len(NUMBERS.conclusions()) == 2


def test_one_seed_has_no_spread() -> None:
    assert NUMBERS.spread("test_clean", "cross_entropy", "corrupted") == "0.700"


def test_a_number_that_the_study_lacks_stops() -> None:
    with pytest.raises(StudyError, match=r"no fgsm_2 of cross_entropy trained on clean"):
        NUMBERS.mean("fgsm_2", "cross_entropy", "clean")
    with pytest.raises(StudyError, match=r"no row 'x' of 'cross_entropy, clean' in the table suite"):
        NUMBERS.row("suite", "cross_entropy, clean", "x")
    with pytest.raises(StudyError, match=r"no row 'x' of 'cross_entropy, clean' in the table y"):
        NUMBERS.row("y", "cross_entropy, clean", "x")
    with pytest.raises(StudyError, match=r"no difference in test_clean of a minus b"):
        NUMBERS.cost("test_clean", "a", "b")
    with pytest.raises(StudyError, match=r"no conclusion about corrupted and robust_2"):
        NUMBERS.answer("corrupted", "robust_2")
    without = statistics()
    without["metrics"]["cross_entropy"]["clean_trained"]["test_clean"]["mean"] = None
    with pytest.raises(StudyError, match=r"no test_clean of cross_entropy trained on clean"):
        Numbers(without, "reports/statistics.json").mean("test_clean", "cross_entropy", "clean")


@pytest.mark.parametrize("verdict", ["not tested: one seed", None])
def test_claims_without_a_verdict_stop(verdict: str | None) -> None:
    untested = statistics()
    untested["conclusions"] = [conclusion("angular − cross_entropy", verdict, 0.01)] if verdict else []
    with pytest.raises(
        StudyError, match=r"reports/statistics.json has no verdicts about the claims of the two studies"
    ):
        Numbers(untested, "reports/statistics.json").conclusions()


def test_another_verdict_or_direction_than_the_template_names_stops() -> None:
    with pytest.raises(StudyError, match=r"the claim 'It trained' is contradicted, not supported"):
        NUMBERS.claim("corrupted", "test_clean", "supported")
    with pytest.raises(StudyError, match=r"'suported' is no verdict; choose one of"):
        NUMBERS.claim("corrupted", "test_clean", "suported")
    with pytest.raises(StudyError, match=r"by another, the claim 'It trained' is contradicted, not supported"):
        NUMBERS.by_test("another", "corrupted", "test_clean", "supported")
    with pytest.raises(StudyError, match=r"'some' is none of the other tests; choose one of \['another'\]"):
        NUMBERS.by_test("some", "corrupted", "test_clean", "supported")
    turned = statistics()
    turned["differences"][0]["mean"] = 0.01
    with pytest.raises(StudyError, match=r"angular-clean has not less test_clean than cross_entropy-clean"):
        Numbers(turned, "reports/statistics.json").cost("test_clean", "angular-clean", "cross_entropy-clean")
    with pytest.raises(StudyError, match=r"0\.700 ± 0\.004 \(.*\) is not clearly less than 0\.715 ± 0\.004"):
        NUMBERS.less(estimate(0.7), estimate(0.715))
    with pytest.raises(StudyError, match=r"0\.700 ± 0\.004 \(.*\) is not like 0\.715 ± 0\.004"):
        NUMBERS.alike(estimate(0.7), estimate(0.715))
    for sign in (0, 1):
        with pytest.raises(StudyError, match=rf"minus cross_entropy-clean has the sign -1, not {sign}"):
            NUMBERS.single("test_clean", "angular-clean", "cross_entropy-clean", sign)


def test_a_verdict_that_depends_on_the_test_must_be_told() -> None:
    """By the other test, angular is contradicted; of the training set it says the same."""
    assert NUMBERS.only_these_depend_on_the_test(("angular", "test_clean", "another")) == ""
    with pytest.raises(StudyError, match=r"by another, the claim 'It angular' is contradicted; the text omits it"):
        NUMBERS.only_these_depend_on_the_test(("corrupted", "test_clean", "another"))


def test_an_alarm_that_the_text_does_not_explain_stops() -> None:
    with pytest.raises(StudyError, match=r"has the alarm few_images for a-clean-0, which the text does not explain"):
        NUMBERS.alarmed("pgd_weaker")


# --- pages --------------------------------------------------------------------------------------------------------


def a_project(top: Path, template: str) -> Path:
    (top / "reports").mkdir()
    (top / study_pages.STUDY).write_text(json.dumps(statistics()), encoding="utf-8")
    for train_set in ("clean", "corrupted"):
        cell = top / "reports/cells/cross_entropy" / f"{train_set}-0"
        cell.mkdir(parents=True)
        record = {
            "model": f"cross_entropy-{train_set}-0",
            "recipe": "cpu",
            "trained_on": {"device": "cpu", "torch": "2.15.0+cu132"},
            "dataset": {"official": True},
        }
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "gpu"}, r"cross_entropy-corrupted-0 was trained on .*train it again"),
        ({"dataset": {"official": False}}, r"clean-0/evaluate.json: these images are not the official ones"),
        ({"model": "cross_entropy-corrupted-0"}, r"reports/cells has 1 models, but reports/statistics.json tells of 2"),
    ],
)
def test_models_that_one_sentence_cannot_tell_of_stop(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    top = a_project(tmp_path, "")
    first = top / "reports/cells/cross_entropy/clean-0/evaluate.json"
    first.write_text(json.dumps(json.loads(first.read_text()) | change), encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        study_pages.environment(top)


def test_statistics_that_are_missing_or_old_stop(tmp_path: Path) -> None:
    top = a_project(tmp_path, "")
    (top / study_pages.STUDY).write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match=r"statistics.json has no value named 'metrics'"):
        study_pages.numbers(top)
    (top / study_pages.STUDY).unlink()
    with pytest.raises(StudyError, match=r"statistics.json does not exist"):
        study_pages.numbers(top)
    with pytest.raises(StudyError, match=r"^bench/other.json does not exist; it is in git: `git restore bench/other"):
        study_pages.numbers(top, "bench/other.json")


def test_what_was_measured_on_a_gpu_is_whole(tmp_path: Path) -> None:
    top, name = a_project(tmp_path, '{{ measured("gpu-x.json").parts.a.result }}'), "bench/results/gpu-x.json"
    with pytest.raises(StudyError, match=rf"{name} does not exist; it is in git: `git restore {name}`"):
        study_pages.with_parts(PAGE, study_pages.environment(top), "0")
    (top / "bench/results").mkdir(parents=True)
    found: dict[str, Any] = {"machine": {}, "tiny": False, "parts": {"a": {"result": 5}}}
    (top / name).write_text(json.dumps(found), encoding="utf-8")
    assert "\n5\n" in study_pages.with_parts(PAGE, study_pages.environment(top), "0")
    (top / name).write_text(json.dumps(found | {"tiny": True}), encoding="utf-8")
    with pytest.raises(StudyError, match=r"tiny"):
        study_pages.with_parts(PAGE, study_pages.environment(top), "0")
    (top / name).write_text(json.dumps(found | {"parts": {}}), encoding="utf-8")
    with pytest.raises(StudyError, match=r"some.md.jinja: .*; correct the template"):
        study_pages.with_parts(PAGE, study_pages.environment(top), "0")


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace(study_pages.END, ""),
        PAGE.replace(study_pages.END, "") + PAGE,
        PAGE.replace(" -->\nold", ">\nold"),
        PAGE + study_pages.END,
    ],
    ids=["no last mark", "two first marks", "first mark misspelt", "two last marks"],
)
def test_a_part_without_one_of_its_marks_stops(tmp_path: Path, page: str) -> None:
    with pytest.raises(StudyError, match=r"a part needs two marks"):
        study_pages.with_parts(page, study_pages.environment(a_project(tmp_path, "")), "0")


def test_what_a_comparison_of_training_sets_found_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study_pages, "TOP", a_project(tmp_path, ""))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["robust_training"])
    with pytest.raises(StudyError, match=r"statistics.json is of {'recipe': 'cpu', .*}, not of {'recipe': 'quick', "):
        robust_training.main()
    study = {"recipe": "cpu", "losses": ["cross_entropy"], "train_sets": ["clean", "corrupted"]}
    monkeypatch.setattr(robust_training, "STUDY", study)
    monkeypatch.setattr(report, "machine", lambda on: {"device": f"a {on.type}", "versions": {"torch": "2.15.0"}})
    robust_training.main()
    assert "robust_training.json: 2 models, recipe cpu, a cpu" in capsys.readouterr().out
    found = study_pages.numbers(tmp_path, "robust_training.json")
    assert found.mean("test_clean", "cross_entropy", "clean") == "0.812"
    assert found.statistics["trained_on"] == study_pages.trained_on(tmp_path, NUMBERS)
    assert found.statistics["machine"]["device"] == "a cpu"
    monkeypatch.setattr(report, "machine", lambda on: {"device": "", "versions": {"torch": "2.14.1"}})
    with pytest.raises(StudyError, match=r"the models were trained with torch 2\.15\.0; run this in that environment"):
        robust_training.main()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('{{ mean("fgsm_2", "cross_entropy", "clean") }}', r"no fgsm_2 of cross_entropy trained on clean"),
        ("{{ typed }}", r"'typed' is undefined"),
        ("{% if %}", r"."),
    ],
)
def test_an_error_in_a_template_names_it(tmp_path: Path, template: str, message: str) -> None:
    templates = study_pages.environment(a_project(tmp_path, template))
    with pytest.raises(StudyError, match=rf"^docs/templates/some.md.jinja: .*{message}.*; correct the template$"):
        study_pages.with_parts(PAGE, templates, "0")
    with pytest.raises(StudyError, match=r"^docs/templates/other.md.jinja does not exist"):
        study_pages.with_parts(PAGE.replace(": some", ": other"), templates, "0")


def test_each_template_has_its_place(tmp_path: Path) -> None:
    top = a_project(tmp_path, "")
    assert study_pages.unplaced([PAGE], top) == []
    assert study_pages.unplaced(["# Title\n"], top) == ["some"]
    assert study_pages.unplaced([PAGE, PAGE], top) == ["some"]
    assert study_pages.unplaced(PAGES.values()) == []


def typed_numbers(text: str) -> set[str]:
    """Decimals, and numbers of points or per cent, that a text has outside the calls of a template."""
    text = re.sub(r"\{\{.*?\}\}|\{#.*?#\}|arXiv \d+\.\d+", "", text, flags=re.DOTALL)
    return set(re.findall(r"\d+\.\d+|\d+(?= (?:points|%))", text)) - STUDIES_REPORTED


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_number_of_the_study_is_typed_into_a_template(template: Path) -> None:
    # 20 % of the images is what params.yaml says, 95 % is what all intervals of the project have
    assert typed_numbers(template.read_text(encoding="utf-8")) <= {"20", "95"}


def test_no_number_of_the_study_is_typed_beside_the_parts() -> None:
    by_hand = {path: study_pages.PART.sub("", page) for path, page in PAGES.items()}
    results = by_hand[ROOT / "README.md"].partition("## Results")[2].partition("\n## ")[0]
    assert "Settings were chosen" in results
    assert typed_numbers(results) == set()
    assert typed_numbers(by_hand[ROOT / "docs/results.md"]) <= {"95"}
    assert typed_numbers("0.812, +1.4 points, 27 %, {{ call(0.5) }}") == {"0.812", "1.4", "27"}


def test_pages_tell_of_the_study_in_reports() -> None:
    digest = study_pages.digest()
    of = {found["digest"] for page in PAGES.values() for found in study_pages.PART.finditer(page)}
    assert len(of) == 1, "the parts are of different studies: `python -m tools.study_pages`"
    if of != {digest}:
        pytest.skip("reports/ holds another study than the one that the pages tell of: `python -m tools.study_pages`")
    templates = study_pages.environment()
    for path, page in PAGES.items():
        assert study_pages.with_parts(page, templates, digest) == page, path.name
    training = PAGES[ROOT / "docs/training.md"]
    chosen = f"{validation('cross_entropy', 'clean')} | {validation('cross_entropy', 'corrupted')}"
    assert f"peak learning rate 0.2 (chosen) | {chosen} |" in training
    assert f"With 0.1, as in the study, it is {validation('angular', 'clean')} (the model of seed 0)" in training


def validation(loss: str, train_set: str) -> str:
    """The accuracy of the model of seed 0 on validation images like those that it was trained on."""
    sets = read_json(ROOT / f"reports/cells/{loss}/{train_set}-0/evaluate.json", "sets")["sets"]
    return f"{next(found['accuracy'] for found in sets if found['set'] == f'val_{train_set}'):.3f}"
