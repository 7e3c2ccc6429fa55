"""UMAP planes: the same bytes twice, measures against simple loops, and the stages that use them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_record
from robustness_study.core.imports import ROOT
from robustness_study.planes import numba_cache, umap_plane
from robustness_study.schema.embed import Embed
from stages import check, embed, render, stability

SECTION = Embed(images=60, neighbours=8, min_dist=0.1, metric="cosine", seed=0)
CLASSES = ["a", "b", "c"]


def clusters(count: int, dimensions: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features around three directions, and the direction number of each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.eye(dimensions)[:3] * 4
    return (centres[labels] + rng.normal(size=(count, dimensions)) * 0.4).astype(np.float32), labels


@pytest.mark.parametrize(
    "exact_below",
    [
        pytest.param(4096, id="exact neighbours"),
        pytest.param(10, id="an index of them", marks=pytest.mark.slow),  # numba compiles it for half a minute
    ],
)
def test_plane_is_reproducible_and_places_new_features(exact_below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_plane, "EXACT_BELOW", exact_below)
    features, labels = clusters(90)
    others, _ = clusters(30, seed=1)
    one, two = (umap_plane.fit(features, SECTION, seed=3) for _ in range(2))
    assert one.points.tobytes() == two.points.tobytes() and one.points.shape == (90, 2)
    taken = one.take(others)
    assert taken.tobytes() == two.take(others).tobytes() and taken.shape == (30, 2)
    assert umap_plane.fit(features, SECTION, seed=4).points.tobytes() != one.points.tobytes()
    # New features are placed near their own class.
    nearest = np.linalg.norm(taken[:, None] - one.points, axis=2).argmin(1)
    assert (labels[nearest] == np.arange(30) % 3).mean() > 0.9
    recall = umap_plane.quality(features, one, labels, SECTION)["index_recall"]
    assert recall is None if exact_below == 4096 else recall is not None and recall > 0.9


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_place_of_a_feature_does_not_depend_on_the_others(metric: str) -> None:
    features, _ = clusters(45)
    plane = umap_plane.fit(features, SECTION.model_copy(update={"metric": metric}), seed=0)
    still = plane.take(features)
    # New positions, since UMAP returns the fitted position of a feature that it knows.
    assert umap_plane.displacement(plane.points, still, plane) > 0
    for some in (np.arange(0, 45, 2), np.random.default_rng(0).permutation(45), np.array([7])):
        assert np.array_equal(plane.take(features[some]), still[some])
    half = np.where(np.arange(45)[:, None] % 2, features, clusters(45, seed=5)[0])
    assert np.array_equal(plane.take(half)[1::2], still[1::2])
    others = 0.5 + clusters(40, seed=6)[0]  # none is near a fitted feature
    taken = plane.take(others)
    for some in (np.arange(0, 40, 2), np.array([7])):
        assert np.array_equal(plane.take(others[some]), taken[some])
    assert np.array_equal(plane.take(np.concatenate([others, features]))[:40], taken)


def test_single_point_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from umap import UMAP

    monkeypatch.setattr(UMAP, "fit_transform", lambda self, features: np.ones((len(features), 2)))
    with pytest.raises(StudyError, match="UMAP put all images on one point"):
        umap_plane.fit(clusters(30)[0], SECTION, seed=0)


def test_neighbours_and_their_measures_equal_a_loop() -> None:
    features, labels = clusters(40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for metric, distances in (
        ("cosine", 1 - unit @ unit.T),
        ("euclidean", np.linalg.norm(features[:, None] - features, axis=2)),
    ):
        found = umap_plane.exact_neighbours(features, 5, metric)
        for position, row in enumerate(distances):
            order = [other for other in np.argsort(row, kind="stable") if other != position]
            assert set(found[position]) == set(order[:5])
    expected = np.mean(
        [np.mean([labels[other] == labels[position] for other in found[position]]) for position in range(40)]
    )
    assert umap_plane.purity(found, labels) == pytest.approx(expected)


def test_share_of_neighbours_in_common() -> None:
    one = np.array([[1, 2], [0, 2], [0, 1]])
    assert umap_plane.shared_share(one, one[:, ::-1]) == 1
    assert umap_plane.shared_share(one, np.array([[3, 4], [2, 5], [0, 1]])) == pytest.approx((0 + 1 / 2 + 1) / 3)


def test_displacement_is_in_units_of_the_spread() -> None:
    points = np.array([[-1.0, 0], [1, 0], [0, -1], [0, 1]], dtype=np.float32)
    plane = umap_plane.Plane(points, None, None, points[:1])  # no UMAP is asked
    after = points + np.array([[0, 3.0], [0, 3], [0, 3], [0, 30]], dtype=np.float32)
    assert umap_plane.displacement(points, after, plane) == pytest.approx(3.0)
    assert umap_plane.displacement(points, points, plane) == 0


def test_quality_is_high_for_separated_classes() -> None:
    features, labels = clusters(90)
    plane = umap_plane.fit(features, SECTION, seed=0)
    found = umap_plane.quality(features, plane, labels, SECTION)
    mixed = umap_plane.quality(features, plane, np.random.default_rng(0).permutation(labels), SECTION)
    for name in ("neighbour_purity_features", "neighbour_purity_plane", "silhouette_features"):
        one, other = found[name], mixed[name]
        assert one is not None and other is not None and one > other + 0.4
    assert found["trustworthiness"] == mixed["trustworthiness"]


def test_compiled_code_is_cached_for_the_next_process(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text("import numba\n\n\n@numba.njit\ndef twice(x):\n    return 2 * x\n")
    script = (
        "import made\nfrom robustness_study.planes.numba_cache import keep_compiled\nkeep_compiled('made')\n"
        "assert made.twice(4) == 8\nprint(sum(made.twice.stats.cache_hits.values()))\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-c", script]
    hits = [subprocess.run(command, env=environment, check=True, capture_output=True).stdout for _ in range(2)]
    assert [int(text) for text in hits] == [0, 1]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folders for a cache: those that numba tries, and the one in the repository. Only the last can be written to.

    Permissions do not stop root, so a file is in the place of each folder that cannot be written to.
    """
    monkeypatch.chdir(tmp_path)
    places = {name: tmp_path / name / "cache" for name in ("variable", "environment", "home")}
    for folder in places.values():
        folder.parent.write_text("no folder", encoding="utf-8")
    source = importlib.machinery.ModuleSpec("umap", None, origin=str(places["environment"] / "__init__.py"))
    monkeypatch.setattr(numba_cache, "find_spec", lambda name: source)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(places["variable"]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["home"]))
    monkeypatch.setattr(sys, "platform", "linux")
    return places


def test_cache_is_in_the_repository_if_numba_can_write_nowhere_else(places: dict[str, Path], tmp_path: Path) -> None:
    numba_cache.ensure_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / ".numba_cache") and (tmp_path / ".numba_cache").is_dir()
    assert ".numba_cache" in (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    assert "/.numba_cache/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["variable", "environment", "home"])
def test_places_that_numba_finds_by_itself_are_left_to_it(places: dict[str, Path], tmp_path: Path, name: str) -> None:
    places[name].parent.unlink()
    numba_cache.ensure_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == str(places["variable"]) and not (tmp_path / ".numba_cache").exists()


def test_unknown_home_makes_no_folder(places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python then leaves `~` in the path, and numba would make a folder with this name."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    numba_cache.ensure_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / ".numba_cache") and not (tmp_path / "~").exists()


def test_check_says_that_there_is_no_place_for_the_cache(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".numba_cache").write_text("no folder", encoding="utf-8")
    shutil.copy(ROOT / "params.yaml", ".")
    with pytest.raises(
        StudyError, match=r"^numba has no place for its cache: .*; set NUMBA_CACHE_DIR to a folder that"
    ):
        check.main()
    assert not Path("data").exists()


@pytest.mark.slow
def test_plane_is_fitted_where_only_the_repository_can_be_written_to(tmp_path: Path) -> None:
    """The packages are links in a folder whose caches are files; numba then refuses to import them without a place."""
    packages = tmp_path / "packages"
    for name in numba_cache.PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        (packages / name / "__pycache__").write_text("no folder", encoding="utf-8")
    (tmp_path / "home").write_text("no folder", encoding="utf-8")
    script = """if True:
        import numpy as np
        from robustness_study.planes import umap_plane
        from robustness_study.schema.embed import Embed
        section = Embed(images=60, neighbours=8, min_dist=0.1, metric="cosine", seed=0)
        features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
        print(umap_plane.fit(features, section, 0).points.shape)
    """
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": f"{packages}:{ROOT}", "XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": "/proc/none"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout == "(30, 2)\n", done.stderr
    assert list((tmp_path / ".numba_cache").rglob("*.nbi"))


# --- the stages --------------------------------------------------------------------------------------------


def inputs(folder: Path, monkeypatch: pytest.MonkeyPatch, attacked: np.ndarray, stage: str, count: int = 60) -> Cell:
    """Writes the inputs of `embed` and `stability` for `count` test images. The "attack" moves no feature."""
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [stage, "--loss", cell.loss, "--train-set", cell.train_set, "--seed", "0"])
    features, labels = clusters(count)
    for name in ("evaluated", "attacked", "raw"):
        (folder / "data" / name).mkdir(parents=True)
    np.savez(
        folder / cell.evaluated,
        test_clean_features=features.astype(np.float16),
        test_corrupted_features=features[::-1].astype(np.float16),
        weights_sha256=np.array("of a model"),
    )
    np.savez(
        folder / cell.attacked,
        features=features[attacked].astype(np.float16),
        test_indices=attacked,
        epsilon_255=np.array(8),
        weights_sha256=np.array("of a model"),
    )
    np.savez(folder / "data/raw/test.npz", labels=labels.astype(np.uint8))
    write_record(folder / "data/raw/source.json", {"classes": CLASSES})
    sections = {"embed": SECTION.model_dump() | {"images": 45}, "stability": {"seeds": [0, 1, 2]}}
    (folder / "params.yaml").write_text(json.dumps(sections))
    return cell


@pytest.mark.parametrize("attacked", [np.arange(0, 60, 2), np.arange(60)], ids=["some attacked", "all attacked"])
def test_embed_writes_the_same_bytes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attacked: np.ndarray
) -> None:
    cell = inputs(tmp_path, monkeypatch, attacked, "embed")
    written = []
    for _ in range(2):
        embed.main()
        render.main()
        files = [cell.embedded, *(cell.plane(name) for name in ("plane.json", "plane.png"))]
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    result = json.loads(written[0][1])
    with np.load(tmp_path / f"data/embedded/{cell.key}.npz") as arrays:
        both = np.intersect1d(arrays["test_indices"], attacked)
        assert arrays["clean"].shape == arrays["corrupted"].shape == (45, 2)
        assert arrays["attacked"].shape == (len(both), 2)
    assert (result["images"], result["attacked_images"]) == (45, len(both))
    found = {row["measure"]: row["value"] for row in result["measures"]}
    # "Attacked" features equal the clean ones. "Corrupted" features are those of other images.
    assert found["median_displacement_spreads_attacked"] == 0 < 0.3 < found["median_displacement_spreads_corrupted"]
    # Clean features move from their fitted place to the place that the plane gives them as new features.
    assert 0 < found["median_displacement_spreads_clean"] < 0.3


@pytest.mark.parametrize("stage", [embed, stability])
def test_too_few_images_for_a_plane_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: ModuleType
) -> None:
    inputs(tmp_path, monkeypatch, np.arange(9), stage.__name__.rpartition(".")[2], count=9)
    with pytest.raises(StudyError, match=r"embed\.images is 45, but the dataset has only 9 test images; add some"):
        stage.main()
    assert not (tmp_path / "reports").exists()


def test_measures_ask_for_fewer_neighbours_than_half_of_the_points() -> None:
    assert [umap_plane.neighbours_of(SECTION, points) for points in (10, 11, 17, 18, 60)] == [4, 4, 7, 8, 8]


def test_stability_compares_planes_of_several_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs(tmp_path, monkeypatch, np.arange(0), "stability")
    stability.main()
    result = json.loads((tmp_path / "data/shared/stability.json").read_text())
    assert (result["images"], result["seeds"], result["model"]) == (45, [0, 1, 2], "cross_entropy-clean-0")
    found = {row["measure"]: row["value"] for row in result["measures"]}
    assert 0 < found["shared_neighbours_lowest"] <= found["shared_neighbours_mean"] < 1
    assert found["trustworthiness_std"] > 0


def test_committed_study_embeds_every_attacked_image() -> None:
    """params embed all 10,000 test images. With fewer, few of them would be among those attacked."""
    assert params.read(ROOT / "params.yaml")["embed"]["images"] == 10000
