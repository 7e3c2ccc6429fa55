"""Every entry of the catalogue of attacks: its file, its block in params.yaml, its titles, its attack's results."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attacked import SECTION, ModelUnderTest, some_images, some_labels, subject_of, tiny_model

from robustness_study.attacks import alarms, catalogue, entry_checks, one_model
from robustness_study.attacks.catalogue import ALARMS, ATTACKS, EVERY, RUN, WORST_CASE
from robustness_study.attacks.entry import Comparison, Entry, filled_in
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import features_of
from robustness_study.attacks.settings import Settings
from robustness_study.attacks.subject import Neighbours
from robustness_study.classifier.inference import to_float
from robustness_study.core import params, registry
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.schema.attack import Attack

PARAMS: dict[str, Any] = params.read(ROOT / "params.yaml")["attack"]
BLOCKS: dict[str, Any] = PARAMS["attacks"]


@pytest.fixture(scope="module")
def subject() -> ModelUnderTest:
    """A model on which every attack was run."""
    model = tiny_model()
    real = Neighbours(model, features_of(model, to_float(some_images()), 5), some_labels().numpy(), 3)
    found = subject_of(model, neighbours=real)
    one_model.attack(found, found.blocks, ALARMS)
    return found


@pytest.mark.parametrize("entry", RUN, ids=lambda entry: entry.name)
def test_entry_has_its_file(entry: Entry) -> None:
    module = importlib.import_module(f"robustness_study.attacks.{entry.name}")
    assert list(inspect.signature(module.run).parameters) == ["subject", "settings"]
    assert inspect.get_annotations(module.run)["settings"] == entry.settings.__name__
    assert all(text and text.strip() for text in (module.__doc__, module.run.__doc__))


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_entry_is_complete(entry: Entry) -> None:
    for text in (entry.about, *entry.titles, *entry.titles.values()):
        assert text and text.strip()
    for comparison in entry.comparisons:
        assert all(comparison.called)
    for alarm in (*entry.alarms, *(each.alarm for each in entry.comparisons)):
        assert alarm in ALARMS and alarm in alarms.NAMES


def test_entries_are_consistent() -> None:
    entry_checks.check_entries(EVERY)


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_an_attack_writes_what_its_entry_says(entry: Entry, subject: ModelUnderTest) -> None:
    """Every result has exactly one title and every title a result. The settings to compare are written too."""
    found = {name: found for name, found in subject.found.items() if catalogue.entry_of(name) == entry}
    for pattern, title in entry.titles.items():
        assert [name for name in found if filled_in(pattern, title, name)], pattern
    for name, written in found.items():
        of_name = [filled_in(*each, name) for other in EVERY for each in other.titles.items()]
        assert [text for text in of_name if text] == [catalogue.title(name)]
        assert tuple(written.settings) == entry.must_be_equal
        assert catalogue.must_be_equal(name) == (*entry.must_be_equal, "positions")
        clean = subject.clean == subject.labels
        if entry.only_right_images:
            for predicted in written.predictions.values():
                wrong = ~clean[written.positions]
                assert wrong.any() and (predicted[wrong] == subject.clean[written.positions][wrong]).all()


def test_attacks_run_in_the_catalogues_order(subject: ModelUnderTest) -> None:
    order = list(dict.fromkeys(catalogue.entry_of(name).name for name in subject.found))
    assert order == [entry.name for entry in EVERY]
    shuffled = SECTION | {"attacks": dict(reversed(SECTION["attacks"].items()))}
    assert order[-1] == WORST_CASE.name
    assert list(catalogue.settings_of(Attack.model_validate(shuffled))) == [entry.name for entry in ATTACKS]


@pytest.mark.parametrize("entry", ATTACKS, ids=lambda entry: entry.name)
def test_params_have_a_block_for_the_attack(entry: Entry) -> None:
    section = Attack.model_validate(PARAMS | {"attacks": {entry.name: BLOCKS[entry.name]}})
    assert isinstance(catalogue.settings_of(section)[entry.name], entry.settings)


def test_params_have_no_other_block() -> None:
    assert list(BLOCKS) == [entry.name for entry in ATTACKS]


def entry_of(name: str, *comparisons: Comparison, **changes: Any) -> Entry:
    given: dict[str, Any] = {"name": name, "settings": Settings, "titles": {name: f"the {name}"}, "about": "Mine."}
    return Entry(**given | changes, comparisons=comparisons)


def comparison(weak: str, strong: str) -> Comparison:
    return Comparison("mine_stronger", weak, strong, ("one", "the other"))


ENTRIES = {
    "an entry twice": (entry_of("pgd", titles={"mine": "mine"}), "has the entry 'pgd' twice; rename one"),
    "a result twice": (entry_of("mine", titles={"pgd": "mine"}), "has the result 'pgd' twice; rename one"),
    "a title twice": (entry_of("mine", titles={"mine": "PGD"}), "has the title 'PGD' twice; rename one"),
    "a result that another stands for": (
        entry_of("mine", titles={"fgsm_of_logits_x7": "mine"}),
        "has the results 'fgsm_of_logits_x*' and 'fgsm_of_logits_x7', which can stand for the same name; rename one",
    ),
    "results that stand for another": (
        entry_of("mine", titles={"fg*": "mine *"}),
        "has the results 'fgsm' and 'fg*', which can stand for the same name; rename one",
    ),
    "an unknown strong result": (
        entry_of("mine", comparison("mine", "fgms")),
        "has a comparison under mine with strong = 'fgms', which is no result of this entry or of an earlier one; use",
    ),
    "an unknown weak result": (
        entry_of("mine", comparison("main", "fgsm")),
        "has a comparison under mine with weak = 'main', which is no result of this entry or of an earlier one; use",
    ),
    "many strong results": (
        entry_of("mine", comparison("mine", "fgsm_of_logits_x*")),
        "has a comparison under mine with strong = 'fgsm_of_logits_x*'; name a single result",
    ),
    "an unknown rule": (
        entry_of("mine", Comparison("mine_stronger", "mine", "fgsm", ("one", "the other"), rule="less")),
        "has a comparison under mine with rule = 'less'; use one of clearly_fewer, fewer, disagree",
    ),
    "a result after an unknown one": (
        entry_of("mine", only_after={"mine": "fgms"}),
        "has under mine only_after = {'mine': 'fgms'}; name a result of this entry, and one of it or of an earlier",
    ),
    "a result of another that goes on": (
        entry_of("mine", goes_on_from={"pgd": "fgsm"}),
        "has under mine goes_on_from = {'pgd': 'fgsm'}; name a result of this entry, and one of it or of an earlier",
    ),
    "two results of others": (
        entry_of("mine", comparison("square", "pgd")),
        "has the comparison 'mine_stronger' under mine, which writes neither of its two results",
    ),
}


@pytest.mark.parametrize(("entry", "message"), ENTRIES.values(), ids=ENTRIES)
def test_entry_that_contradicts_the_others_is_refused(entry: Entry, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        entry_checks.check_entries((*EVERY, entry))
    assert str(caught.value).startswith(f"robustness_study/attacks/catalogue.py {message}")
    assert "\n" not in str(caught.value)


def test_comparison_with_a_later_entry_is_refused() -> None:
    with pytest.raises(StudyError, match=r"under mine with strong = 'pgd', .* or of an earlier one; use one of fgsm,"):
        entry_checks.check_entries((EVERY[0], entry_of("mine", comparison("mine", "pgd")), *EVERY[1:]))


FOUND = Found(np.arange(3), {1: np.zeros(3, dtype=np.int64)}, {"steps": 5})
WRITTEN: dict[str, tuple[Any, Any, str]] = {
    "a result without a title": (
        entry_of("mine"),
        lambda subject, settings: {"mine": FOUND, "other": FOUND},
        "has no title for 'other', which mine.py writes; add it to `titles`",
    ),
    "a title without a result": (
        entry_of("mine", titles={"mine": "mine", "other": "other"}),
        lambda subject, settings: {"mine": FOUND},
        "has a title for 'other' under mine, but mine.py wrote no such result",
    ),
    "nothing": (
        entry_of("mine"),
        lambda subject, settings: None,
        "has a title for 'mine' under mine, but mine.py wrote no such result",
    ),
    "a setting that is not written": (
        entry_of("mine", must_be_equal=("steps", "restarts")),
        lambda subject, settings: {"mine": FOUND},
        "says under mine that restarts must be equal, but mine.py does not write it with 'mine'; add it to",
    ),
    "an alarm of another": (
        entry_of("mine"),
        lambda subject, settings: subject.watch(alarms.Alarm("knn_masked", "why")) or {"mine": FOUND},
        "does not name the alarm 'knn_masked', which mine.py raises; add it to `alarms`",
    ),
}


@pytest.mark.parametrize(("entry", "run", "message"), WRITTEN.values(), ids=WRITTEN)
def test_attack_that_does_not_do_what_its_entry_says_is_refused(
    entry: Entry, run: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "module", lambda *given: SimpleNamespace(run=run))
    subject = subject_of(tiny_model())
    with pytest.raises(StudyError) as caught:
        one_model.run_one(subject, entry, Settings())
    assert str(caught.value).startswith(f"robustness_study/attacks/catalogue.py {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ran", [True, False])
def test_result_after_another_is_missed_only_if_the_other_exists(ran: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "module", lambda *given: SimpleNamespace(run=lambda *given: {"mine": FOUND}))
    subject = subject_of(tiny_model())
    subject.found |= {"fgsm": FOUND} if ran else {}
    entry = entry_of("mine", titles={"mine": "mine", "mine_too": "too"}, only_after={"mine_too": "fgsm"})
    if ran:
        with pytest.raises(StudyError, match="has a title for 'mine_too' under mine, but"):
            one_model.run_one(subject, entry, Settings())
    else:
        assert list(one_model.run_one(subject, entry, Settings())) == ["mine"]


def test_attack_that_does_what_its_entry_says_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(subject: ModelUnderTest, settings: Settings) -> dict[str, Found]:
        subject.watch(alarms.Alarm("knn_masked", "why"))
        return {"mine_1": FOUND, "mine_2": FOUND}

    monkeypatch.setattr(registry, "module", lambda *given: SimpleNamespace(run=run))
    subject = subject_of(tiny_model())
    entry = entry_of("mine", titles={"mine_*": "mine, *"}, must_be_equal=("steps",), alarms=("knn_masked",))
    assert list(one_model.run_one(subject, entry, Settings())) == list(subject.found) == ["mine_1", "mine_2"]


@pytest.mark.parametrize("name", ["", "fgsm_of_logits_x", "pgd_16_bit", "fgs", "*"])
def test_result_that_no_attack_writes_is_refused(name: str) -> None:
    for function in (catalogue.entry_of, catalogue.title, catalogue.must_be_equal):
        with pytest.raises(StudyError, match=r"^attack\.json has .*, which no attack in .*catalogue\.py writes"):
            function(name)


@pytest.mark.parametrize(
    "module", ["attacks", "attacks.catalogue", "attacks.alarms", "schema.attack", "results.overstated"]
)
def test_what_check_and_the_report_read_imports_no_torch(module: str) -> None:
    code = f"import sys, robustness_study.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
