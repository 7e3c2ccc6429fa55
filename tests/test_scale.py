"""Sites, states, dry runs and the refusal of mixed fleets, without Parsl's workers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scale_pipeline as toy
from filelock import FileLock
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from bench import scale as bench
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from tools import workspace
from tools.scale import board, engine, fleet, head, orders, results, work
from tools.scale import site as sites
from tools.scale.orders import Orders
from tools.scale.plan import cell_of, of_repository, plan
from tools.scale.processes import Runner

EXAMPLES = sorted((workspace.ROOT / "tools/scale/sites").glob("*.yaml"))
CPU = {"device": "cpu", "torch": "2", "precision": "float32"}


# --- sites -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_become_a_provider(path: Path) -> None:
    site = sites.load(path)
    assert path.stem == "laptop" or site.provider == path.stem
    if site.provider == "kubernetes":  # whose package is not part of the environment
        with pytest.raises(StudyError, match="type `pip install kubernetes`"):
            engine.provider(site)
    else:
        assert engine.provider(site).worker_init.startswith(site.prepare)  # type: ignore[attr-defined]


def test_walltime_gpus_and_options_reach_the_cluster() -> None:
    slurm: Any = engine.provider(sites.load(workspace.ROOT / "tools/scale/sites/slurm.yaml"))
    assert (slurm.walltime, slurm.partition, slurm.max_blocks, slurm.cores_per_node) == ("04:00:00", "gpu", 4, 32)
    assert "#SBATCH --constraint=a100" in slurm.scheduler_options and "gpus-per-node=4" in slurm.scheduler_options
    pbs: Any = engine.provider(sites.load(workspace.ROOT / "tools/scale/sites/pbs.yaml"))
    assert (pbs.walltime, pbs.queue, pbs.select_options) == ("04:00:00", "gpuq", "ngpus=2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: slum\nscratch: /s", "provider is 'slum': input should be 'slurm', 'pbs', 'kubernetes' or 'local'"),
        ("provider: slurm", "scratch is missing (add it)"),
        ("scratch: /s\ngpu: 4", "gpu is unknown (check the spelling or remove it)"),
        ("scratch: /s\nnodes: 0", "nodes is 0: input should be greater than or equal to 1"),
        ("scratch: /s\nshares_files: false", "data needs a remote"),
        ("scratch: /s\nprovider: kubernetes", "which needs an image"),
        ("scratch: /s\ngpus_per_node: 2\nworkers_per_node: 3", "workers_per_node is more than there are GPUs"),
        ("scratch: /s\ngpus: ['0']\ngpus_per_node: 2", "gpus_per_node is not the number of gpus"),
        ("[1, 2", "is not YAML"),
        ("just text", "must hold keys with values"),
    ],
)
def test_a_wrong_site_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        sites.load(path)
    assert said in str(caught.value) and str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_site_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="copy an example from tools/scale/sites/"):
        sites.load(tmp_path / "site.yaml")


def test_a_python_file_with_a_configuration_of_parsl(tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text(
        "from parsl.config import Config\nfrom parsl.executors import HighThroughputExecutor\n"
        "config = Config(executors=[HighThroughputExecutor(label='mine', address='127.0.0.1')])\n"
        "site = {'scratch': '/s', 'retries': 3}\n"
    )
    site = sites.load(path)
    config = engine.config(site, tmp_path / "logs")
    assert config.executors[0].label == "mine" and config.run_dir == str(tmp_path / "logs")
    assert config.retries == sites.LOSSES_PER_FAILURE and site.retries == 3
    for text, message in (
        ("site = {}\n", "must define `config`"),
        ("config = 1\nsite = [('scratch', '/s')]\n", "must define `config`"),
        ("site = {\n", "failed .SyntaxError: "),
        ("import nowhere\n", "failed .ModuleNotFoundError: No module named 'nowhere'.; correct it"),
    ):
        path.write_text(text)
        with pytest.raises(StudyError, match=message) as caught:
            sites.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("retries", "lost_workers"), [(0, 0), (1, 10), (3, 2)])
def test_a_failure_and_a_lost_worker_are_forgiven_as_often_as_the_site_says(retries: int, lost_workers: int) -> None:
    cost = engine.retry_handler(sites.Site(scratch="/s", retries=retries, lost_workers=lost_workers))
    for error, allowed in (
        (work.WorkError("x"), retries),
        (WorkerLost(0, "here"), lost_workers),  # type: ignore[no-untyped-call]
        (ManagerLost(b"m", "here"), lost_workers),
    ):
        once = cost(error, None)
        assert once * allowed <= sites.LOSSES_PER_FAILURE + 1e-6 < once * (allowed + 1)


# --- states ------------------------------------------------------------------------------------------------------


def test_table_shows_every_model_the_total_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    states = board.Board(tmp_path, toy.KEYS, at_once=2)
    states.change("a-clean-0", board.RUNNING, "node1, GPU 0")
    states.change("a-clean-1", board.RUNNING, "node2, GPU 1")
    now[0] += 600
    states.change("a-clean-0", board.DONE)
    states.note("a-clean-1", "error: it broke\n")
    states.change("a-clean-1", board.FAILED, last_line="ERROR: failed to reproduce 'train@a-clean-1'")
    states.change("b-clean-0", board.RUNNING, "node1, GPU 0")
    states.change("b-clean-0", board.RUNNING, "node1, GPU 0")  # not told twice
    assert capsys.readouterr().out.splitlines() == [
        "a-clean-0: running on node1, GPU 0",
        "a-clean-1: running on node2, GPU 1",
        "a-clean-0: done after 10 min [1 done, 1 running, 2 waiting; about 15 min left]",
        "a-clean-1: failed after 10 min (error: it broke) [1 done, 1 failed, 2 waiting; about 10 min left]",
        "b-clean-0: running on node1, GPU 0",
    ]
    assert board.status(tmp_path).splitlines() == [
        "a-clean-0  done after 10 min",
        "a-clean-1  failed after 10 min (error: it broke)",
        "b-clean-0  running on node1, GPU 0",
        "b-clean-1  waiting",
        "1 done, 1 failed, 1 running, 1 waiting; about 10 min left",
        "No run is in progress; this is how the last one ended.",
    ]


def test_a_model_that_may_have_waited_for_a_worker_has_no_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = board.Board(tmp_path, toy.KEYS, at_once=2)
    states.change("a-clean-0", board.SENT)
    states.change("a-clean-0", board.DONE)
    assert capsys.readouterr().out.splitlines()[-1] == "a-clean-0: done [1 done, 3 waiting]"


def test_status_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nothing ran here yet"):
        board.status(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(12.4, "12 s"), (90, "2 min"), (3600, "1 h 00 min"), (3661, "1 h 01 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert board.duration(seconds) == said


# --- orders ------------------------------------------------------------------------------------------------------


def test_snapshot_is_the_working_tree_and_changes_neither_branch_nor_index(tmp_path: Path) -> None:
    repository = toy.make(tmp_path / "r")
    (repository / "stage.py").write_text("changed")
    (repository / "new.py").touch()
    (repository / "dvc.yaml").unlink()
    before = workspace.git("status", "--porcelain", folder=repository)
    head_before = workspace.git("rev-parse", "HEAD", folder=repository)
    commit, bundle = orders.snapshot(repository)
    assert (commit, bundle) == orders.snapshot(repository)
    assert workspace.git("status", "--porcelain", folder=repository) == before
    assert workspace.git("rev-parse", "HEAD", folder=repository) == head_before
    workspace.git("init", "-q", str(tmp_path / "clone"), folder=tmp_path)
    workspace.git("fetch", "-q", str(bundle), "+refs/scale/*:refs/scale/*", folder=tmp_path / "clone")
    workspace.git("reset", "-q", "--hard", commit, folder=tmp_path / "clone")
    assert (tmp_path / "clone/stage.py").read_text() == "changed" and (tmp_path / "clone/new.py").exists()
    assert not (tmp_path / "clone/dvc.yaml").exists()


def test_a_remote_that_is_not_the_default_is_refused(tmp_path: Path) -> None:
    repository = toy.make(tmp_path / "r")
    with pytest.raises(StudyError, match="remote is 'shelf', but this is not DVC's default"):
        Orders(repository, sites.Site(scratch="/s", remote="shelf"), plan([]), [])


# --- what there is to do -----------------------------------------------------------------------------------------


def test_dry_says_what_would_run_where_and_runs_nothing(tmp_path: Path) -> None:
    repository = toy.make(tmp_path / "r")
    printed = toy.scale(repository, "--dry", "--gpus", "0", "1").stdout
    assert "1 at a time on GPU 0, 1 at a time on GPU 1" in printed and "4 models" in printed
    assert "  b-clean-1: train, evaluate, publish" in printed
    assert not (repository / "dvc.lock").exists() and not (repository / "data").exists()


def test_dry_sees_a_stage_that_only_this_machine_runs(tmp_path: Path) -> None:
    repository = toy.make(tmp_path / "r")
    assert toy.scale(repository).returncode == 0
    assert "up to date: 4 models" in toy.scale(repository, "--dry").stdout
    (repository / "reports/cells/a-clean-0.txt").write_text("changed", encoding="utf-8")
    printed = toy.scale(repository, "--dry").stdout
    assert "1 models" in printed and "up to date: 3 models" in printed


def test_files_that_are_only_missing_are_no_change() -> None:
    assert not head.is_change({"changed deps": {"models/a": "deleted"}})
    assert head.is_change({"changed deps": {"models/a": "deleted", "data/code/train.txt": "modified"}})
    assert head.is_change({"changed deps": {"params.yaml": {"recipe": "modified"}}})
    assert head.is_change("changed command")


def test_entries_that_were_kept_are_merged_once(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  split:\n    cmd: x\n", encoding="utf-8")
    for key in ("b", "a"):
        results.keep(tmp_path, key, {f"train@{key}": {"cmd": "y"}})
    results.merge(tmp_path)
    assert list(results.read_lock(tmp_path)["stages"]) == ["split", "train@a", "train@b"]
    assert not list((tmp_path / results.KEPT).iterdir())


def test_keys_of_models_and_what_is_none() -> None:
    assert cell_of("cross_entropy-clean-0") == Cell("cross_entropy", "clean", 0)
    assert [cell_of(key) for key in ("x", "a-b", "a-b-c", "a-b-c-1")] == [None] * 4


# --- mixed fleets ------------------------------------------------------------------------------------------------


def published(root: Path, key: str, trained_on: dict[str, str]) -> None:
    loss, train_set, seed = key.split("-")
    path = root / f"reports/cells/{loss}/{train_set}-{seed}/evaluate.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"trained_on": trained_on}), encoding="utf-8")


def test_models_of_one_seed_are_trained_with_one_kind_of_device(tmp_path: Path) -> None:
    published(tmp_path, "a-clean-0", CPU | {"threads": "2"})
    fleet.refuse_mixture(tmp_path, ["a-clean-0"], ["b-clean-0"], CPU)
    gpu = CPU | {"device": "NVIDIA X", "precision": "bfloat16"}
    fleet.refuse_mixture(tmp_path, ["a-clean-0"], ["b-clean-1"], gpu)  # another seed
    for other in (gpu, CPU | {"precision": "bfloat16"}):
        with pytest.raises(StudyError, match="a-clean-0 was trained with device cpu, torch 2, precision float32, and"):
            fleet.refuse_mixture(tmp_path, ["a-clean-0"], ["b-clean-0"], other)


def test_this_machine_is_asked_only_if_a_seed_is_half_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def of_process(folder: Path, settings: dict[str, str]) -> fleet.Environment:
        asked.append(folder)
        return CPU | {"device": "NVIDIA X"}

    monkeypatch.setattr(fleet, "of_process", of_process)
    planned = plan([f"train@{key}" for key in toy.KEYS])
    fleet.refuse_mixture_here(tmp_path, planned, {})
    published(tmp_path, "a-clean-0", CPU)
    published(tmp_path, "b-clean-0", CPU)
    fleet.refuse_mixture_here(tmp_path, planned, {})
    assert not asked
    published(tmp_path, "a-clean-1", CPU)
    with pytest.raises(StudyError, match="missing models of seed 1"):
        fleet.refuse_mixture_here(tmp_path, planned, {})


def test_a_worker_asks_once_what_it_trains_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(work, "KNOWN", {})
    monkeypatch.setattr(fleet, "of_process", lambda folder, settings: asked.append(folder) or CPU)  # type: ignore[func-returns-value]
    for key in ("a-clean-0", "b-clean-0"):
        order = work.Order(key, (), (), "", "", str(tmp_path), {}, False)
        assert work.environment(order) == CPU
    assert len(asked) == 1


def test_a_worker_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = work.Order("a-clean-0", (), (), "", "", str(tmp_path), {}, False, expected=CPU)
    monkeypatch.setattr(work, "prepare", lambda order: None)
    monkeypatch.setattr(work, "environment", lambda order: CPU | {"device": "NVIDIA X"})
    with pytest.raises(work.WorkError, match="this worker trains with device NVIDIA X, "):
        work.work(order)


# --- the simulation ----------------------------------------------------------------------------------------------


def test_simulated_time_is_that_of_the_formula_where_nothing_saturates() -> None:
    setting = bench.Setting(models=640, workers=64, compute_s=1000, overhead_s=0, head_s=0, store_mb_per_s=1e9)
    assert bench.simulate(setting).hours * 3600 == pytest.approx(640 / 64 * 1000, rel=0.1)
    slow = replace(setting, store_mb_per_s=10)
    moved_s = 640 * (bench.READ_MB + bench.WRITTEN_MB) / 10
    assert bench.simulate(slow).hours * 3600 == pytest.approx(moved_s, rel=0.1)
    assert bench.most_workers(slow) < 64 < bench.most_workers(setting)
    headed = replace(setting, head_s=60)
    assert bench.simulate(headed).head_busy > 0.9


# --- head and workers, simulated -----------------------------------------------------------------------------------


def test_a_late_attempt_keeps_the_next_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PATIENCE_S", 0)
    order = work.Order("a-clean-0", (), (), "", "", str(tmp_path), {}, False)
    with FileLock(f"{order.clone}.lock"), pytest.raises(work.WorkError, match="an earlier attempt at a-clean-0"):
        work.work(order)


def test_a_hundred_models_on_simulated_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsl's threads stand in for workers. A tenth of the models lose their worker once, and one always fails."""
    keys = [f"a-clean-{number}" for number in range(100)]
    repository, tried = toy.make(tmp_path / "r", keys), Counter[str]()
    site = sites.Site(scratch=str(tmp_path), workers_per_node=4, config=Config(
        executors=[ThreadPoolExecutor(max_threads=4)], strategy="none", initialize_logging=False,
    ))  # fmt: skip

    def simulated(order: work.Order) -> dict[str, Any]:
        tried[order.key] += 1
        if order.key.endswith("7") and tried[order.key] == 1:
            raise WorkerLost(0, "here")  # type: ignore[no-untyped-call]
        if order.key == "a-clean-50":
            raise work.WorkError("error: it is broken")
        return {name: {"cmd": "made"} for name in order.stages}

    monkeypatch.setattr(head, "POLL_S", 0.02)
    monkeypatch.setattr(work, "work", simulated)
    monkeypatch.setattr(work, "probe", lambda order: CPU)
    planned, runner = of_repository(repository), Runner(repository)
    states = board.Board(repository, planned.models, site.workers)
    assert head.models(runner, site, planned, Orders(repository, site, planned, keys), states) == ["a-clean-50"]
    assert states.counts() == {"done": 99, "failed": 1}
    assert tried == {key: 2 if key.endswith("7") or key == "a-clean-50" else 1 for key in keys}
    results.merge(repository)
    assert len(results.read_lock(repository)["stages"]) == 2 * 99
