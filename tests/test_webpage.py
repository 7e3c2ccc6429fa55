"""The report page: its predictions are the committed ones, its images the real ones, its names never code."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_arrays import COPIES, IMAGES, OF_STRESS, SIGNS, write_arrays
from made_cells import (
    ATTACKED,
    ATTACKED_INDICES,
    CELLS,
    FIRST_SEED,
    MODELS,
    STRESSED,
    STRESSED_INDICES,
    SUITE,
    change_dataset,
    change_result,
    confusion_of,
    correct,
    correct_under_fgsm,
    correct_under_stress,
    labels_of,
    write_study,
)
from PIL import Image

from robustness_study.attacks.signs import step
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record, write_npz
from robustness_study.report import conclusion_sections
from robustness_study.report.study import read as read_study
from robustness_study.results.cell_results import CellResults
from robustness_study.webpage import against, charts, document, explorer, sections, shown
from robustness_study.webpage.packed import COLUMNS, packed, sheet, thumbnails
from robustness_study.webpage.revision import commit
from stages import compare, report
from tools import report as tool

CODE = "<script>alert(1)</script>"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_study()
    write_arrays()
    return tmp_path


def page() -> str:
    report.main()
    return Path("reports/report.html").read_text(encoding="utf-8")


def data_of(text: str) -> Any:
    """The page's data, as the browser reads it."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def array(found: dict[str, Any]) -> np.ndarray:
    """A packed array, as the script unpacks it."""
    values: np.ndarray = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), dtype=found["type"])
    return values.reshape(found["shape"])


def pictures(uri: str, count: int) -> np.ndarray:
    """The images of a sheet, uint8 N×S×S×3."""
    kind, text = uri.split(";base64,")
    assert kind in ("data:image/webp", "data:image/jpeg")
    tiled = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    side = tiled.shape[1] // COLUMNS
    rows = tiled.reshape(-1, side, COLUMNS, side, 3).swapaxes(1, 2)
    return rows.reshape(-1, side, side, 3)[:count]


# --- the explorer ------------------------------------------------------------------------------------------


@pytest.fixture
def explored(study: Path) -> Any:
    return report.content()["data"]["explorer"]


def test_explorer_shows_images_of_suite_and_attack_in_proportion(explored: Any) -> None:
    indices, labels = array(explored["indices"]), array(explored["labels"])
    assert set(indices) <= set(ATTACKED_INDICES) & set(STRESSED_INDICES)
    assert explored["count"] == explored["of"] == len(indices) == len(set(ATTACKED_INDICES) & set(STRESSED_INDICES))
    np.testing.assert_array_equal(labels, labels_of("test_clean")[indices])
    assert abs(int((labels == 0).sum()) - int((labels == 1).sum())) <= 1


def test_predictions_of_the_explorer_are_the_committed_ones(explored: Any) -> None:
    indices = array(explored["indices"])
    of_attack, in_suite = np.searchsorted(ATTACKED_INDICES, indices), np.searchsorted(STRESSED_INDICES, indices)
    clean, attacked = array(explored["clean"]["said"]), array(explored["attack"]["said"])
    for model, cell in enumerate(FIRST_SEED):
        evaluate, attack, stress = (
            read_record(cell.published(f"{name}.json")) for name in ("evaluate", "attack", "stress")
        )
        of_test = from_text(evaluate["details"]["test_clean"]["predictions"])
        np.testing.assert_array_equal(clean[model], of_test[indices])
        for place, epsilon in enumerate(explored["attack"]["epsilons_255"]):
            of_epsilon = from_text(attack["attacks"]["fgsm"]["predictions"][str(epsilon)])
            np.testing.assert_array_equal(attacked[model, place], of_epsilon[of_attack])
        for found in explored["corruptions"]:
            said = array(found["said"])
            for place, severity in enumerate(explored["severities"]):
                of_severity = from_text(stress["predictions"][found["name"]][severity - 1])
                np.testing.assert_array_equal(said[model, place], of_severity[in_suite])
    assert [found["name"] for found in explored["corruptions"]] == SUITE and explored["severities"] == [1, 3, 5]
    assert explored["attack"]["epsilons_255"] == [1, 2, 4, 8]


def test_confidences_of_the_explorer_are_those_of_the_arrays(explored: Any) -> None:
    indices = array(explored["indices"])
    in_suite = np.searchsorted(STRESSED_INDICES, indices)
    assert set(array(explored["clean"]["percent"]).ravel()) == {88}  # 1 / (1 + e⁻²)
    for model, cell in enumerate(FIRST_SEED):
        for found, of_name in zip(explored["corruptions"], OF_STRESS[cell], strict=True):
            np.testing.assert_allclose(array(found["percent"])[model], 100 * of_name[::2, in_suite], atol=0.51)
        (confidences,) = read_npz(cell.attacked, "confidences")
        shown = array(explored["attack"]["percent"])[model]
        np.testing.assert_allclose(
            shown, 100 * confidences[:, np.searchsorted(ATTACKED_INDICES, indices)].astype(float), atol=0.51
        )


def test_clean_images_are_exact_and_corrupted_ones_nearly(explored: Any) -> None:
    count, indices = explored["count"], array(explored["indices"])
    in_suite = np.searchsorted(STRESSED_INDICES, indices)
    np.testing.assert_array_equal(pictures(explored["clean"]["sheet"], count), IMAGES[indices])
    for found in explored["corruptions"]:
        for uri, severity in zip(found["sheets"], explored["severities"], strict=True):
            original = COPIES[found["name"]][severity - 1][in_suite].astype(float)
            errors = pictures(uri, count) - original  # noise, the worst images for a JPEG file
            assert 0 < np.sqrt((errors**2).mean()) < 10


def test_attacked_images_are_those_of_the_attack(explored: Any) -> None:
    """The script adds the signs to the clean image; its pixels are whole numbers that clip to 0…255."""
    indices, signs, scale = (
        array(explored["indices"]),
        array(explored["attack"]["signs"]).astype(float),
        explored["attack"]["scale"],
    )
    clean = pictures(explored["clean"]["sheet"], explored["count"]).astype(float)
    for model, cell in enumerate(FIRST_SEED):
        own = torch.from_numpy(SIGNS[cell][np.searchsorted(ATTACKED_INDICES, indices)])
        for epsilon in explored["attack"]["epsilons_255"]:
            expected = step(to_float(torch.from_numpy(IMAGES[indices])), own, epsilon).permute(0, 2, 3, 1).numpy() * 255
            np.testing.assert_allclose(np.clip(clean + epsilon * signs[model] / scale, 0, 255), expected, atol=1e-3)


def test_explorer_shows_fewer_images_if_they_are_large(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report.content()["data"]["explorer"]
    size = sum(len(uri) for found in whole["corruptions"] for uri in found["sheets"])
    monkeypatch.setattr(explorer, "ROOM", size // 2)
    half = report.content()["data"]["explorer"]
    assert 0.3 * whole["count"] < half["count"] < 0.7 * whole["count"] and half["of"] == whole["of"]
    assert sum(len(uri) for found in half["corruptions"] for uri in found["sheets"]) < 0.65 * size
    assert f"{half['count']} test images of {half['of']}" in html.unescape(page())


def test_page_without_images_in_common_says_so(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = shown.read

    def of_other_images(result: CellResults) -> shown.Shown:
        model = read(result)
        result.stress.test_indices = to_text(np.arange(STRESSED) + 1000)
        assert model.plane is not None
        none = {name: model.plane[name][:0] for name in ("attacked", "attacked_indices")}
        return dataclasses.replace(model, plane=model.plane | none)

    monkeypatch.setattr(shown, "read", of_other_images)
    text = html.unescape(page())
    assert "the suite and the attack have no test image in common" in text
    assert "the planes and the attack have no test image in common" in text


def other_images() -> None:
    write_npz("data/raw/test.npz", images=255 - IMAGES, labels=labels_of("test_clean").astype(np.uint8))


def copies_in_another_order() -> None:
    copies, indices = read_npz("data/suite/fog.npz", "images", "indices")
    write_npz("data/suite/fog.npz", images=copies[:, ::-1], indices=indices)


def changed_arrays(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    write_npz(path, **arrays | changes)


def other_attacked_images() -> None:
    changed_arrays(FIRST_SEED[1].attacked, test_indices=ATTACKED_INDICES + 1)


def other_epsilons() -> None:
    changed_arrays(FIRST_SEED[1].attacked, confidence_epsilons_255=np.array([1, 2, 4, 16]))


def another_model() -> None:
    changed_arrays(FIRST_SEED[1].embedded, weights_sha256=np.array("of another"))


def fewer_confidences() -> None:
    changed_arrays(FIRST_SEED[1].stressed, fog=np.zeros((5, STRESSED - 1), np.float16))


def other_confidences() -> None:
    changed_arrays(FIRST_SEED[1].stressed, fog=np.full((5, STRESSED), 0.5, np.float16))


def other_confidences_under_attack() -> None:
    changed_arrays(FIRST_SEED[1].attacked, confidences=np.full((4, ATTACKED), 0.5, np.float16))


def a_missing_file() -> None:
    FIRST_SEED[1].stressed.unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (other_images, "data/raw/test.npz does not hold the images that the models were scored on; run `dvc repro`"),
        (copies_in_another_order, "the images in data/suite are not those that cross_entropy-clean-0 was scored on"),
        (other_attacked_images, "attacked/cross_entropy-corrupted-0.npz: test_indices is not that of reports/cells"),
        (other_epsilons, "attacked/cross_entropy-corrupted-0.npz: confidence_epsilons_255 is not that of reports/"),
        (another_model, "data/embedded/cross_entropy-corrupted-0.npz was made from other weights than those in"),
        (fewer_confidences, "data/stressed/cross_entropy-corrupted-0.npz: fog is 5×39, but other files ask for 5×40"),
        (other_confidences, "stressed/cross_entropy-corrupted-0.npz does not hold the confidences of the published"),
        (other_confidences_under_attack, "attacked/cross_entropy-corrupted-0.npz does not hold the confidences of the"),
        (a_missing_file, "data/stressed/cross_entropy-corrupted-0.npz does not exist; run `dvc repro` to make it"),
    ],
)
def test_stage_refuses_files_that_do_not_belong_together(study: Path, fault: Callable[[], None], message: str) -> None:
    fault()
    with pytest.raises(StudyError) as caught:
        report.main()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("reports/report.html").exists()


@pytest.mark.parametrize("side", [8, 64, 100, 224])
def test_thumbnails_are_small_and_keep_means(side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    signs = np.sign(images.astype(np.float32) - 128)
    for found, given, error in ((thumbnails(images, 64), images, 1.0), (thumbnails(signs, 64), signs, 0.02)):
        assert found.shape == (3, min(side, 64), min(side, 64), 3) and found.dtype == given.dtype
        np.testing.assert_allclose(found.mean((1, 2)), given.mean((1, 2), dtype=float), atol=error)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 23])
def test_sheet_holds_the_images_in_rows(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(pictures(sheet(images, exact=True), count), images)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint32])
def test_packed_array_is_unpacked_as_it_was(kind: type) -> None:
    values: np.ndarray = np.arange(-60, 60).astype(kind).reshape(2, 3, 20)
    found = array(packed(values[:, :, ::2]))
    np.testing.assert_array_equal(found, values[:, :, ::2])
    assert found.dtype == kind


# --- the other parts ---------------------------------------------------------------------------------------


def test_planes_have_the_same_images_in_every_model(study: Path) -> None:
    found = report.content()["data"]["planes"]
    indices = array(found["indices"])
    assert set(indices) == set(ATTACKED_INDICES) and len(found["models"]) == len(FIRST_SEED)
    assert len(pictures(found["sheet"], found["count"])) == len(indices)
    for cell, model in zip(FIRST_SEED, found["models"], strict=True):
        taken, corrupted, attacked = read_npz(cell.embedded, "clean_taken", "corrupted", "attacked")
        places = {name: array(at).astype(float) for name, at in model["places"].items()}
        given = {"clean": taken[indices], "corrupted": corrupted[indices], "attacked": attacked}
        wide = np.ptp(np.concatenate(list(given.values())), axis=0).max()
        for name in given:  # distances are the same, up to rounding, in units of the plane
            one, other = (np.linalg.norm(at - at[0], axis=1) for at in (places[name] / 65535 * wide, given[name]))
            np.testing.assert_allclose(one, other, atol=wide * 1e-4)
        attack = read_record(cell.published("attack.json"))["attacks"]["fgsm"]["predictions"]["8"]
        np.testing.assert_array_equal(array(model["said"]["attacked"]), from_text(attack))


def test_charts_have_the_numbers_of_the_tables(study: Path) -> None:
    compare.main()
    statistics = json.loads(Path("reports/statistics.json").read_text(encoding="utf-8"))
    found = report.content()["data"]["charts"]
    assert found["models"] == MODELS
    rows = {row["model"]: row for row in found["comparison"]["rows"] if row["choice"] == "clean images"}
    for model, row in rows.items():
        loss, train_set = model.split(", ")
        summary = statistics["metrics"][loss][f"{train_set}_trained"]["test_clean"]
        assert (row["mean"], row["n"]) == (pytest.approx(summary["mean"], abs=1e-4), 2)
        assert [row["low"], row["high"]] == pytest.approx(summary["interval_95"], abs=1e-4)
    assert list(rows) == MODELS
    for name, chart in found.items():
        if name != "models":
            assert chart["choices"] and {row["choice"] for row in chart["rows"]} == set(chart["choices"]), name
    assert found["ladder"]["choices"][0].startswith("worst case of all attacks")
    clean = [row for row in found["ladder"]["rows"] if row["epsilon_255"] == 0]
    assert {row["choice"] for row in clean} == set(found["ladder"]["choices"])


def test_maps_have_the_numbers_of_the_results(study: Path) -> None:
    data = report.content()["data"]
    stress = {cell: read_record(cell.published("stress.json")) for cell in CELLS}
    for model, rows in data["heat"]["accuracy"].items():
        cells = [cell for cell in CELLS if f"{cell.loss}, {cell.train_set}" == model]
        for name, row in zip(data["heat"]["corruptions"], rows, strict=True):
            for severity, accuracy in enumerate(row):
                found = [
                    each["accuracy"]
                    for cell in cells
                    for each in stress[cell]["rows"]
                    if (each["corruption"], each["severity"]) == (name if severity else "clean", severity)
                ]
                assert accuracy == pytest.approx(np.mean(found), abs=1e-4)
    assert list(data["heat"]["accuracy"]) == MODELS and data["heat"]["corruptions"] == SUITE
    for of in ("clean", "corrupted"):
        for model, counts in data["confusion"][of].items():
            cells = [cell for cell in CELLS if f"{cell.loss}, {cell.train_set}" == model]
            assert counts == np.sum([confusion_of(cell, f"test_{of}") for cell in cells], axis=0).tolist()


def test_lines_have_the_numbers_of_the_results(study: Path) -> None:
    charted = report.content()["data"]["charts"]
    for row in charted["ladder"]["rows"]:
        if row["choice"].startswith("FGSM ("):
            cells = [cell for cell in CELLS if f"{cell.loss}, {cell.train_set}" == row["model"]]
            counts = [correct_under_fgsm(cell, row["epsilon_255"]) for cell in cells]
            assert row["mean"] == pytest.approx(np.mean(counts) / ATTACKED, abs=1e-4)
            assert row["low"] <= row["mean"] <= row["high"] and row["over"]
    for row in charted["severity"]["rows"]:
        if row["choice"] == "fog" and row["severity"]:
            cells = [cell for cell in CELLS if f"{cell.loss}, {cell.train_set}" == row["model"]]
            counts = [correct_under_stress(cell, "fog", row["severity"]) for cell in cells]
            assert row["mean"] == pytest.approx(np.mean(counts) / STRESSED, abs=1e-4) and row["over"]
    assert charted["severity"]["choices"][0] == "2 of CIFAR-10-C's 15 main corruptions"
    for row in charted["curves"]["rows"]:
        assert row["run"].startswith(row["model"].replace(", ", "-"))
    assert {row["run"] for row in charted["curves"]["rows"]} == {cell.key for cell in CELLS}
    bins = [row for row in charted["calibration"]["rows"] if row["choice"] == "clean test images"]
    for cell, row in zip(FIRST_SEED, bins, strict=True):  # all confidences of the made logits are equal
        assert (row["images"], row["confidence"]) == (50, pytest.approx(0.8808, abs=1e-4))
        assert row["accuracy"] == pytest.approx(correct(cell, "test_clean") / 50, abs=1e-4)


def test_calibration_bins_hold_all_images() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (500, 4))
    labels = logits.argmax(1).copy()
    labels[:100] = (labels[:100] + 1) % 4
    rows = list(charts.bins(logits, labels))
    assert sum(row["images"] for row in rows) == 500
    assert sum(row["images"] * row["accuracy"] for row in rows) == pytest.approx(400, abs=0.1)
    assert all(0 <= row["confidence"] <= 1 for row in rows)
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)


def test_every_table_of_the_study_is_on_the_page(study: Path) -> None:
    compare.main()
    text = page()
    csv = data_of(text)["csv"]
    for path in Path("reports/tables").glob("*.csv"):
        assert csv[path.stem] == path.read_text(encoding="utf-8"), path.stem
        assert f'id="table-{path.stem}"' in text and sections.TITLES[path.stem] in html.unescape(text)
    others = {"differences", "verdicts", "confusion", "calibration", "curves"}
    assert set(csv) == {*(path.stem for path in Path("reports/tables").glob("*.csv")), *others}


def test_page_names_the_verdicts_that_another_test_would_change(study: Path) -> None:
    found = report.content()
    found["static"]["verdicts"] |= {"by_other_tests": ["A <claim>: contradicted by some, p = 0.01"]}
    text = " ".join(document.page(found).split())
    assert "Would another test change a verdict? Some, so they are less certain" in text
    assert html.escape(conclusion_sections.ABOUT_OTHER_TESTS.replace("*", "")) in text
    assert "<ul><li>A &lt;claim&gt;: contradicted by some, p = 0.01</li></ul>" in text
    found["static"]["verdicts"] |= {"by_other_tests": []}
    text = " ".join(document.page(found).split())
    assert "Would another test change a verdict? None" in text and conclusion_sections.NONE_DIFFERS in text
    found["static"]["verdicts"] |= {"tested": False}
    assert "Would another test" not in document.page(found)


def test_page_needs_nothing_else_and_is_small(study: Path) -> None:
    text = page()
    assert len(text.encode()) < 3_000_000
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', outside) and "@import" not in text
    assert text.count("</script>") == 3  # the data, the library of charts, the scripts


def test_names_are_shown_and_never_run(study: Path) -> None:
    for cell in CELLS:
        change_dataset(cell, classes=[CODE, "</script><b>&amp;"], name="a <b>")
        change_result(cell, "attack.json", alarms={"pgd_leaves_some": f"for {CODE}"})
    text = page()
    assert CODE not in text and "<b>&" not in text and "a <b>" not in text
    assert data_of(text)["classes"] == [CODE, "</script><b>&amp;"]
    assert html.escape(f"for {CODE}") in text


def test_page_says_how_the_study_was_made(study: Path) -> None:
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', page().partition('<section id="made"')[2])
    found = {html.unescape(key): html.unescape(value) for key, value in rows}
    losses, train_sets, seeds = (params.read()[name] for name in ("losses", "train_sets", "seeds"))
    assert found == sections.made(read_study(losses, train_sets, seeds, []), commit())
    assert {"dataset", "checksum", "images", "recipe", "seeds", "trained with", "scored with"} <= found.keys()
    assert "train_sets:" in html.unescape(page().partition('<section id="made"')[2].partition("</section>")[0])


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True)


def test_commit_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert commit() is None
    git("init", "-q")
    (tmp_path / "dvc.yaml").write_text("a: 1")
    git("add", ".")
    git("commit", "-qm", "one")
    named = commit()
    assert named is not None and re.fullmatch(r"[0-9a-f]{12}", named)
    (tmp_path / "params.yaml").write_text("a: 2")
    git("add", ".")
    git("commit", "-qm", "results")
    assert commit() == named
    (tmp_path / "dvc.yaml").write_text("a: 2")
    assert commit() == f"{named} with changes"


# --- against another revision ------------------------------------------------------------------------------


def test_figures_of_another_revision_are_beside_these(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare.main()
    git("init", "-q")
    git("add", "reports")
    git("commit", "-qm", "one")
    git("tag", "before")
    statistics = json.loads(Path("reports/statistics.json").read_text(encoding="utf-8"))
    statistics["metrics"]["angular"]["clean_trained"]["test_clean"]["mean"] += 0.025
    Path("reports/statistics.json").write_text(json.dumps(statistics), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["report", "--against", "before"])
    tool.main()
    text = html.unescape(Path("reports/against.html").read_text(encoding="utf-8"))
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>.*?</td><td>.*?</td><td>(.*?)</td></tr>', text)
    changed = {row: points for row, points in rows if points not in ("+0.0", "−0.0")}
    assert changed["clean images (test_clean); angular, clean"] == "+2.5" and len(rows) > 4 * 10
    assert "Against before" in text and not Path("reports/report.html").exists()


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("nothing", "error: --against nothing: .*; name a commit, a branch or a tag that has reports/statistics.json"),
        ("broken", "error: --against broken: its reports/statistics.json is broken; name another revision"),
    ],
)
def test_a_revision_without_figures_is_refused(
    study: Path, monkeypatch: pytest.MonkeyPatch, revision: str, message: str
) -> None:
    Path("reports/statistics.json").write_text("[1", encoding="utf-8")
    git("init", "-q")
    git("add", "reports")
    git("commit", "-qm", "one")
    git("tag", "broken")
    monkeypatch.setattr(sys, "argv", ["report", "--against", revision])
    with pytest.raises(StudyError, match=message.removeprefix("error: ")):
        tool.main()


SUMMARY = {"mean": 0.5, "std": None, "interval_95": None}


@pytest.mark.parametrize(
    "there",
    [
        {"angular": {"clean_trained": {"test_clean": SUMMARY}}},
        None,
        [1],
        {"arcface": 1},
        {"arcface": {"clean_trained": {"test_clean": 0.5}}},
        {"arcface": {"clean_trained": {"test_clean": {"mean": None}}}},
        {"arcface": {"clean_trained": {"test_clean": {"mean": math.nan}}}},
    ],
)
def test_a_revision_with_other_models_or_another_form_is_refused(there: Any) -> None:
    with pytest.raises(StudyError, match="of old has no metric of a model of this study"):
        against.section({"arcface": {"clean_trained": {"test_clean": SUMMARY}}}, there, "old")


def test_a_revision_without_intervals_is_compared() -> None:
    there = {"arcface": {"clean_trained": {"test_clean": {"mean": 0.25}}}}
    found = against.section({"arcface": {"clean_trained": {"test_clean": SUMMARY}}}, there, "old")
    assert found["rows"] == [["clean images (test_clean); arcface, clean", "0.5000", "0.2500", "+25.0"]]
    assert found["csv"].splitlines()[0] == ",".join(against.COLUMNS)
