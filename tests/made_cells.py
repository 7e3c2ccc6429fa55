"""Files that the stages would write for a study of eight models, made from chosen counts of correct images."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness_study.attacks import outcome
from robustness_study.core import params
from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.cell import (
    CONFIDENCES_DIGEST,
    CURVES_DIGEST,
    IMAGES_DIGEST,
    NATURAL,
    WEIGHTS_DIGEST,
    Cell,
    split_of,
)
from robustness_study.core.files import bytes_digest, read_record, write_record
from robustness_study.evaluation.score import per_class
from robustness_study.results import cell_results
from robustness_study.results.cell_results import CellResults

INTERFACE = [
    "train_clean",
    "val_clean",
    "val_corrupted",
    "test_clean",
    "test_corrupted",
    "generalisation_gap",
    "corruption_drop",
    "knn_test_clean",
    "knn_test_corrupted",
    "probe_test_clean",
    "probe_test_corrupted",
    "fgsm_1",
    "fgsm_2",
    "fgsm_4",
    "fgsm_8",
    "robust_2",
    "suite_mean",
    "suite_unseen_mean",
    "natural_cifar10_1",
    "natural_cifar10_1_drop",
]
LOSSES, TRAIN_SETS, SEEDS = ["cross_entropy", "angular"], ["clean", "corrupted"], [0, 5]
CELLS = [Cell(*names) for names in product(LOSSES, TRAIN_SETS, SEEDS)]
FIRST_SEED = [cell for cell in CELLS if cell.seed == SEEDS[0]]
MODELS = [f"{loss}, {name}" for loss, name in product(LOSSES, TRAIN_SETS)]  # a table's columns
SETS = {"train_clean": 40, "val_clean": 20, "val_corrupted": 20, "test_clean": 50, "test_corrupted": 50}
SETS["natural_cifar10_1"] = 30
EPSILONS_255 = [0, 1, 2, 4, 8, 16]
ATTACKED_INDICES = np.flatnonzero(np.arange(50) % 4 < 2)  # of both classes, the wrong ones at the end among them
ATTACKED = 26
# The attacks. Each one after the first uses some of the first one's images, and not simply the first few.
EVERY = np.arange(ATTACKED)
CONTROL, OF_PGD, OF_APGD = EVERY[EVERY % 3 != 1], EVERY[EVERY % 5 != 2], EVERY[EVERY % 7 != 3]
CONTROLS = {  # of APGD; they find what the attack itself found
    "apgd_ce_second_start": "apgd_ce",
    "apgd_longer": "apgd",
    "apgd_ce_of_logits_x0.1": "apgd_ce",
    "apgd_ce_of_logits_x10": "apgd_ce",
}
POSITIONS = {
    "fgsm": EVERY,
    "fgsm_8_bit": EVERY,
    "noise": EVERY,
    "pgd": OF_PGD,
    "pgd_8_bit": OF_PGD,
    "apgd_ce": OF_APGD,
    "apgd": OF_APGD,
    **dict.fromkeys(CONTROLS, np.intersect1d(CONTROL, OF_APGD)),
    "fgsm_of_logits_x0.1": CONTROL,
    "fgsm_of_logits_x10": CONTROL,
    "square": OF_APGD[::2],
    "knn_fgsm": CONTROL,
}
OF_ATTACK = {  # epsilons
    "fgsm": EPSILONS_255,
    "fgsm_8_bit": EPSILONS_255,
    "noise": [1, 2, 4, 8, 16],
    "fgsm_of_logits_x0.1": [1, 2, 4, 8, 16],
    "fgsm_of_logits_x10": [1, 2, 4, 8, 16],
    "pgd": [1, 2, 4, 16],
    "pgd_8_bit": [1, 2, 4, 16],
    "apgd_ce": [1, 2, 4, 8],
    "apgd": [1, 2, 4, 8],
    **{name: [2] for name in CONTROLS},
    "square": [4],
    "knn_fgsm": EPSILONS_255,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 20, "looked_at_every": 5, "restarts": 2},
    "pgd_8_bit": {"steps": 20, "looked_at_every": 5, "restarts": 2},
    **{name: {"steps": 20, "targets": 3, "restarts": 1} for name in ("apgd_ce", "apgd", *list(CONTROLS)[:2])},
    "square": {"queries": 30},
    "knn_fgsm": {"neighbours": 3},
}
STRESSED = TRANSFERRED = 40
STRESSED_INDICES = np.flatnonzero(np.arange(50) % 10 < 8)  # of both classes in turn, with gaps
SPREAD = (
    ": std",
    ": n",
    ": lower_95",
    ": upper_95",
    ": covers",
)  # how the names of a table's columns of standard deviations end
# Main and unlike the mix, main and similar to the mix, held out, not in the benchmark.
SUITE = ["fog", "gaussian_noise", "saturate", "mix_without_flip"]
# The number of images behind each metric; none for a difference of two.
IMAGES_OF = {
    "suite_mean": STRESSED,
    "suite_unseen_mean": STRESSED,
    **SETS,
    **{f"{name}_test_{test}": 50 for name in ("knn", "probe") for test in ("clean", "corrupted")},
    **{f"fgsm_{n}": ATTACKED for n in (1, 2, 4, 8)},
    "robust_2": len(OF_APGD),
}
# The texts of a stress.json of no model and no images.
OF_NO_STRESS = dict.fromkeys(("model", WEIGHTS_DIGEST, IMAGES_DIGEST, CONFIDENCES_DIGEST, "test_indices", "labels"), "")
READ_OF_ALL = ("transfer.json", "stability.json")  # files that compare reads and that belong to no cell
Tree = dict[str, Any]
# The mix and the augmentation, which say which corruptions are similar to training.
COMMITTED = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
SECTIONS = dict(COMMITTED)


# --- counts ------------------------------------------------------------------------------------------------


def rank(cell: Cell) -> int:
    """A different number for every cell, 0 to 7. Seeds are not next to each other."""
    return 4 * SEEDS.index(cell.seed) + 2 * LOSSES.index(cell.loss) + TRAIN_SETS.index(cell.train_set)


def correct(cell: Cell, name: str) -> int:
    """The number of correct images in a set, different for every set and every cell."""
    most = {"train_clean": 39, "val_clean": 18, "val_corrupted": 16, "test_clean": 44, "test_corrupted": 33}
    most["natural_cifar10_1"] = 24
    return most[name] - rank(cell)


def correct_by_neighbours(cell: Cell, name: str) -> int:
    return correct(cell, name) - 2


def correct_by_probe(cell: Cell, name: str) -> int:
    return correct(cell, name) - 1


def correct_under_fgsm(cell: Cell, epsilon_255: int) -> int:
    if epsilon_255 == 0:
        return int((correct(cell, "test_clean") > ATTACKED_INDICES).sum())
    return 20 - rank(cell) - EPSILONS_255.index(epsilon_255)


def kept_under_attack(cell: Cell, epsilon_255: int) -> float:
    """The share of images correct on the clean image that remain correct under attack. These are the first images."""
    clean = correct_under_fgsm(cell, 0)
    return min(correct_under_fgsm(cell, epsilon_255), clean) / clean


def correct_under(cell: Cell, attack: str, epsilon_255: int) -> int:
    """The number of images at the attack's positions that are correct under it. Rounding changes the number."""
    if attack == "fgsm_8_bit":
        return correct_under_fgsm(cell, epsilon_255) - 1
    if attack == "fgsm":
        return correct_under_fgsm(cell, epsilon_255)
    if attack.startswith("fgsm_of_logits"):
        # How many of these images are correct under the first attack, where the first images are correct.
        reported = int((correct_under_fgsm(cell, epsilon_255) > CONTROL).sum())
        return reported - (gained(cell) if (attack, epsilon_255) == ("fgsm_of_logits_x10", 4) else -1)
    if attack == "knn_fgsm" and epsilon_255 == 0:
        return int((correct_by_neighbours(cell, "test_clean") > ATTACKED_INDICES[CONTROL]).sum())
    if attack in CONTROLS or attack == "square":  # as many as the attack itself, or APGD, leaves of these images
        right = OF_APGD[: correct_under(cell, CONTROLS.get(attack, "apgd"), epsilon_255)]
        return int(np.isin(POSITIONS[attack], right).sum())
    most = {"noise": 25, "pgd": 18, "pgd_8_bit": 19, "apgd_ce": 14, "apgd": 12, "knn_fgsm": 16}[attack]
    return most - rank(cell) - EPSILONS_255.index(epsilon_255)


def gained(cell: Cell) -> int:
    """How many more images the gradient of ten times the logits makes wrong. Only at epsilon 4."""
    return TRAIN_SETS.index(cell.train_set)


def moved_degrees(cell: Cell) -> float:
    """The median angle over images, in degrees."""
    return 30.0 + rank(cell)


def correct_under_stress(cell: Cell, corruption: str, severity: int) -> int:
    return 36 - rank(cell) - (SUITE.index(corruption) + 1) * severity if severity else 38 - rank(cell)


def mean_under_stress(cell: Cell, *corruptions: str) -> float:
    return float(np.mean([[correct_under_stress(cell, c, s) for s in range(1, 6)] for c in corruptions])) / STRESSED


def loss_of(cell: Cell, name: str) -> float:
    return 0.5 + rank(cell) / 8 + name.endswith("corrupted") / 4


def calibration_error(cell: Cell, name: str) -> float:
    return 0.02 + rank(cell) / 100 + name.endswith("corrupted") / 10


def temperature(cell: Cell) -> float:
    return 1.5 + rank(cell) / 10


def calibration_under(cell: Cell, corruption: str, severity: int) -> float:
    """The expected calibration error under a corruption of the suite. Scaling halves it."""
    return 0.03 + rank(cell) / 200 + (SUITE.index(corruption) + 1) * severity / 100 if severity else 0.02


def mean_calibration_under(cell: Cell, *corruptions: str) -> float:
    return float(
        np.mean([[calibration_under(cell, name, severity) for severity in range(1, 6)] for name in corruptions])
    )


def angles(cell: Cell, name: str, of: str = "features") -> dict[str, float] | None:
    """Angles of features, or of embeddings. Only one of the two losses makes embeddings."""
    if of == "embeddings" and cell.loss != "angular":
        return None
    wider = 5.0 * name.endswith("corrupted") + 40 * (of == "embeddings")
    return {"within_class_degrees": 30 + rank(cell) + wider, "between_class_degrees": 70 - rank(cell) + wider}


def transferred(source: Cell, target: Cell) -> float:
    return (20 + rank(source) - 2 * rank(target)) / 40


STABILITY = {
    "shared_neighbours_mean": 0.61234,
    "shared_neighbours_lowest": 0.54321,
    "trustworthiness_std": 0.00123,
    "neighbour_purity_plane_std": 0.00456,
}


# --- arrays ------------------------------------------------------------------------------------------------


def predictions_with(labels: np.ndarray, correct: int) -> np.ndarray:
    """Predictions, 0 or 1, of which the first `correct` equal the labels and the rest are wrong."""
    return np.where(np.arange(len(labels)) < correct, labels, 1 - labels)


def labels_of(name: str) -> np.ndarray:
    return np.arange(SETS[name]) % 2


def attacked_labels() -> np.ndarray:
    return labels_of("test_clean")[ATTACKED_INDICES]


def predictions_of(cell: Cell, name: str) -> np.ndarray:
    return predictions_with(labels_of(name), correct(cell, name))


def confusion_of(cell: Cell, name: str) -> list[list[int]]:
    pairs = list(zip(labels_of(name), predictions_of(cell, name), strict=True))
    return [[pairs.count((actual, predicted)) for predicted in (0, 1)] for actual in (0, 1)]


# --- files -------------------------------------------------------------------------------------------------


def weights(cell: Cell) -> str:
    """Stands for the digest of the model's weights."""
    return f"of {cell.key}"


def evaluation(cell: Cell) -> Tree:
    rows, details = [], {}
    for name, images in SETS.items():
        tests = not name.startswith("train")
        on_features = {"knn": correct_by_neighbours(cell, name), "probe": correct_by_probe(cell, name)} if tests else {}
        row = {
            "set": name,
            "accuracy": correct(cell, name) / images,
            "loss": loss_of(cell, name),
            "images": images,
        }
        row["calibration_error"] = calibration_error(cell, name)
        row |= {
            "loss_scaled": loss_of(cell, name) / 1.25,
            "calibration_error_scaled": calibration_error(cell, name) / 2,
        }
        row |= {f"{of}_accuracy": on_features[of] / images if tests else None for of in ("knn", "probe")}
        rows.append({**row, "flip_accuracy": None})
        details[name] = {
            "per_class": per_class(labels_of(name), predictions_of(cell, name), ["cat", "dog"]),
            "predictions": to_text(predictions_of(cell, name)),
        }
        for classifier, count in on_features.items():
            details[name][f"{classifier}_predictions"] = to_text(predictions_with(labels_of(name), count))
    dataset = {"name": "pets", "origin": "a test", "checksum": "md5:0", "official": True, "classes": ["cat", "dog"]}
    dataset["jpeg_share"] = 0.0
    return {
        "model": cell.key,
        WEIGHTS_DIGEST: weights(cell),
        CURVES_DIGEST: bytes_digest(curves(cell).encode()),
        IMAGES_DIGEST: "of the test images",
        "knn_neighbours": 3,
        "recipe": "tiny",
        "trained_on": {"device": "cpu", "torch": "0", "precision": "float32"},
        "computed_with": {"device": "cpu", "torch": "0"},
        "dataset": dataset,
        "natural": {name: "of its images" for name in SETS if name.startswith(NATURAL)},
        "temperature": temperature(cell),
        "sets": rows,
        "angles": {
            name: {of: angles(cell, name, of) for of in ("features", "embeddings")}
            for name in ("test_clean", "test_corrupted")
        },
        "details": details,
        "labels": {split_of(name): to_text(labels_of(name)) for name in SETS},
    }


def attack(cell: Cell) -> Tree:
    attacks = {name: one_attack(cell, name) for name in POSITIONS}
    ladder = [
        {
            "epsilon_255": epsilon,
            "accuracy": correct_under_fgsm(cell, epsilon) / ATTACKED,
            "accuracy_of_clean_correct": kept_under_attack(cell, epsilon),
            "accuracy_8_bit": correct_under(cell, "fgsm_8_bit", epsilon) / ATTACKED,
        }
        for epsilon in EPSILONS_255
    ]
    return {
        "model": cell.key,
        WEIGHTS_DIGEST: weights(cell),
        IMAGES_DIGEST: "of the test images",
        CONFIDENCES_DIGEST: "of the attacked images",
        "attack": "fast gradient sign",
        "images": ATTACKED,
        "ladder": ladder,
        "test_indices": to_text(ATTACKED_INDICES),
        "labels": to_text(attacked_labels()),
        "attacks": with_worst_case(attacks, predictions_of(cell, "test_clean")),
        "alarms": {},
        "moved_epsilon_255": 8,
        "moved_degrees": {"5": 10.0, "25": 20.0, "50": moved_degrees(cell), "75": 50.0, "95": 60.0},
    }


def with_worst_case(attacks: Tree, clean: np.ndarray) -> Tree:
    """The attacks with their worst case. `clean` are the predictions on all test images.

    In these studies no attack finds more than APGD, whose accuracy falls with epsilon; see `correct_under`.
    """
    found = {name: outcome.from_json(written) for name, written in attacks.items() if name != "worst_case"}
    worst = outcome.worst_case(found, attacked_labels(), clean[ATTACKED_INDICES])
    return attacks | {name: outcome.as_json(each) for name, each in worst.items()}


def one_attack(cell: Cell, name: str) -> Tree:
    positions = POSITIONS[name]
    return {
        **SETTINGS.get(name, {}),
        **({"stand_in_agrees": 0.9 + rank(cell) / 100} if name == "knn_fgsm" else {}),
        **({"zero_gradients": 0, "random_logits": 0} if name == "fgsm" else {}),
        "images": len(positions),
        "positions": to_text(positions),
        "predictions": {
            str(epsilon): to_text(predictions_with(attacked_labels()[positions], correct_under(cell, name, epsilon)))
            for epsilon in OF_ATTACK[name]
        },
    }


def stress(cell: Cell) -> Tree:
    cases = [("clean", 0), *product(SUITE, range(1, 6))]
    rows = [
        {
            "corruption": name,
            "severity": severity,
            "accuracy": correct_under_stress(cell, name, severity) / STRESSED,
            "calibration_error": calibration_under(cell, name, severity),
            "calibration_error_scaled": calibration_under(cell, name, severity) / 2,
        }
        for name, severity in cases
    ]
    labels = np.arange(STRESSED) % 2
    found = {
        name: [
            to_text(predictions_with(labels, correct_under_stress(cell, name, severity)))
            for severity in ([0] if name == "clean" else range(1, 6))
        ]
        for name in ("clean", *SUITE)
    }
    stressed = {"test_indices": to_text(STRESSED_INDICES), "labels": to_text(labels)}
    digests = {WEIGHTS_DIGEST: weights(cell), IMAGES_DIGEST: "of the corrupted images", CONFIDENCES_DIGEST: "of these"}
    of_model = {"model": cell.key, **digests, "temperature": temperature(cell)}
    return {**of_model, "images": STRESSED, "rows": rows, "predictions": found, **stressed}


def embedding(cell: Cell) -> Tree:
    return {
        "model": cell.key,
        WEIGHTS_DIGEST: weights(cell),
        "images": 20,
        "epsilon_255": 8,
        "measures": [{"measure": "trustworthiness", "value": 0.9 - rank(cell) / 50}],
    }


def curves(cell: Cell) -> str:
    rows = [f"{epoch},{2.5 / epoch},{0.25 * epoch},{0.125 * epoch + rank(cell) / 64},1.5" for epoch in (1, 2)]
    return "\n".join(["epoch,training_loss,train_accuracy,val_accuracy,val_loss", *rows]) + "\n"


def transfer(cells: Sequence[Cell]) -> Tree:
    rows: list[Tree] = [
        {"source": source.key, "target": target.key, "accuracy": transferred(source, target)}
        for target, source in product(cells, repeat=2)
    ]
    labels = np.arange(TRANSFERRED) % 2
    return {
        "epsilon_255": 8,
        WEIGHTS_DIGEST: {cell.key: weights(cell) for cell in cells},
        "images": TRANSFERRED,
        "rows": rows,
        "alarms": {},
        "test_indices": to_text(np.arange(TRANSFERRED)),
        "labels": to_text(labels),
        "predictions": {
            f"{row['source']} → {row['target']}": to_text(
                predictions_with(labels, round(row["accuracy"] * TRANSFERRED))
            )
            for row in rows
        },
    }


def stability(cell: Cell) -> Tree:
    rows = [{"measure": name, "value": value} for name, value in STABILITY.items()]
    of_model = {"model": cell.key, WEIGHTS_DIGEST: weights(cell)}
    return {**of_model, "images": 20, "neighbours": 7, "seeds": [0, 1, 2], "measures": rows}


# --- a study -----------------------------------------------------------------------------------------------


def write_study() -> None:
    """Writes every file of the study that git holds, and nothing else, into the working folder."""
    for cell in CELLS:
        cell.published("curves.csv").parent.mkdir(parents=True)
        cell.published("curves.csv").write_text(curves(cell), encoding="utf-8")
        write_record(cell.published("evaluate.json"), evaluation(cell))
        write_record(cell.published("attack.json"), attack(cell))
        write_record(cell.published("stress.json"), stress(cell))
    for cell in FIRST_SEED:
        cell.plane("plane.png").parent.mkdir(parents=True)
        cell.plane("plane.png").write_bytes(b"a picture")
        write_record(cell.plane("plane.json"), embedding(cell))
    choose_study()


def choose_study(
    losses: Sequence[str] = LOSSES, train_sets: Sequence[str] = TRAIN_SETS, seeds: Sequence[int] = SEEDS
) -> None:
    """Makes params name these models, and makes the files of all models be about these."""
    sections = SECTIONS | {"losses": losses, "train_sets": train_sets, "seeds": seeds}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    chosen = [Cell(loss, train_set, seeds[0]) for loss, train_set in product(losses, train_sets)]
    write_record("reports/transfer.json", transfer(chosen))
    write_record("reports/stability.json", stability(chosen[0]))


def change_file(path: Path, **changes: object) -> None:
    write_record(path, {**read_record(path), **changes})


def change_result(cell: Cell, name: str, **changes: object) -> None:
    change_file(cell.published(name), **changes)


def change_attack(cell: Cell, name: str, **changes: object) -> None:
    """Changes one attack's results, and the worst case with it."""
    attacks = read_record(cell.published("attack.json"))["attacks"]
    clean = read_record(cell.published("evaluate.json"))["details"]["test_clean"]["predictions"]
    attacks |= {name: attacks[name] | changes}
    change_result(cell, "attack.json", attacks=with_worst_case(attacks, from_text(clean)))


def change_dataset(cell: Cell, **changes: Any) -> None:
    evaluate = read_record(cell.published("evaluate.json"))
    classes = changes.get("classes", evaluate["dataset"]["classes"])
    for details in evaluate["details"].values():
        details["per_class"] = dict(zip(classes, details["per_class"].values(), strict=True))
    dataset = evaluate["dataset"] | changes
    change_result(cell, "evaluate.json", dataset=dataset, details=evaluate["details"])


def change_predictions(cell: Cell, name: str, predictions: np.ndarray) -> None:
    """Other predictions of `evaluate` for a set of images, with the values that follow from them."""
    evaluate = read_record(cell.published("evaluate.json"))
    labels = labels_of(name)
    evaluate["details"][name] |= {
        "per_class": per_class(labels, predictions, ["cat", "dog"]),
        "predictions": to_text(predictions),
    }
    row = next(row for row in evaluate["sets"] if row["set"] == name)
    row["accuracy"] = float((labels == predictions).mean())
    write_record(cell.published("evaluate.json"), evaluate)


def read_strictly(path: str) -> Tree:
    """Reads a JSON file. Fails on NaN and infinity: JSON has none, but Python reads them."""
    tree: Tree = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
    return tree


def table(name: str) -> tuple[list[str], dict[str, list[float]]]:
    """Column names, and the numbers of each row without standard deviations. NaN where there is none."""
    columns, rows = whole_table(name)
    kept = [place for place, column in enumerate(columns) if not column.endswith(SPREAD)]
    numbers = {row: [float(values[place] or math.nan) for place in kept] for row, values in rows.items()}
    return [columns[place] for place in kept], numbers


def whole_table(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """Column names, and each row as it is written."""
    header, *rows = csv.reader(io.StringIO(Path(f"reports/tables/{name}.csv").read_text(encoding="utf-8")))
    return header[1:], {row[0]: row[1:] for row in rows}


def report_on(heading: str) -> str:
    """The report's text under a heading."""
    report = Path("reports/report.md").read_text(encoding="utf-8")
    return report.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def report_rows(heading: str) -> dict[str, list[str]]:
    """The rows of the report's tables under a heading, by their first column."""
    rows = [line.strip("|").split("|") for line in report_on(heading).splitlines() if line.startswith("|")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}


def outputs(top: Path) -> dict[str, bytes]:
    """Every file under reports/ that belongs to no cell and that no stage reads."""
    found = (path for path in (top / "reports").rglob("*") if path.is_file())
    named = {path.relative_to(top / "reports").as_posix(): path.read_bytes() for path in found}
    return {
        name: content
        for name, content in named.items()
        if not name.startswith(("cells/", "planes/")) and name not in READ_OF_ALL
    }


# --- expected results ---------------------------------------------------------------------------------------


def cells_of(loss: str, train_set: str) -> list[Cell]:
    return [cell for cell in CELLS if (cell.loss, cell.train_set) == (loss, train_set)]


def results_of(*cells: Cell) -> list[CellResults]:
    return [cell_results.read(cell, []) for cell in cells]


def expected_metrics(cell: Cell) -> dict[str, float]:
    """The headline metrics by their definitions, from the counts above."""
    share = {name: correct(cell, name) / images for name, images in SETS.items()}
    tests = ("test_clean", "test_corrupted")
    return {
        **share,
        "generalisation_gap": share["train_clean"] - share["test_clean"],
        "corruption_drop": share["test_clean"] - share["test_corrupted"],
        "natural_cifar10_1_drop": share["test_clean"] - share["natural_cifar10_1"],
        **{f"knn_{name}": correct_by_neighbours(cell, name) / 50 for name in tests},
        **{f"probe_{name}": correct_by_probe(cell, name) / 50 for name in tests},
        **{f"fgsm_{epsilon}": correct_under_fgsm(cell, epsilon) / ATTACKED for epsilon in (1, 2, 4, 8)},
        "robust_2": correct_under(cell, "apgd", 2) / len(OF_APGD),
        "suite_mean": mean_under_stress(cell, "fog", "gaussian_noise"),
        "suite_unseen_mean": mean_under_stress(cell, "fog"),
    }


def expected_means(loss: str, train_set: str) -> dict[str, float]:
    each = [expected_metrics(cell) for cell in cells_of(loss, train_set)]
    return {name: sum(metrics[name] for metrics in each) / len(each) for name in INTERFACE}


def wilson(share: float, images: int) -> list[float]:
    """The two roots p of (share − p)² = z² p (1 − p) / images."""
    z_squared = 1.959963984540054**2
    roots = np.roots([1 + z_squared / images, -2 * share - z_squared / images, share**2])
    return sorted(float(root) for root in roots)
