"""The head of a run on other machines: sends models to workers, follows them, and compares at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from robustness_study.core.errors import StudyError, one_line
from robustness_study.core.files import read_json
from tools.scale import engine, fleet, results, work
from tools.scale.board import DONE, FAILED, FOLDER, RUNNING, SENT, UP_TO_DATE, WAITING, Board, table
from tools.scale.local import AFTER, BEFORE, until_done
from tools.scale.orders import Orders
from tools.scale.plan import Plan, ask_dvc, of_repository
from tools.scale.processes import Runner
from tools.scale.site import Site

POLL_S = 0.5
NOTES = FOLDER / "running"


def run(root: Path, site: Site) -> list[str]:
    """Run the whole pipeline of the repository at `root`, its models on the workers of `site`.

    Returns what failed, as `local.run` does. After an interrupt all jobs are stopped.
    """
    runner = Runner(root)
    return until_done(lambda: _run(runner, site), runner)


def not_up_to_date(root: Path, stages: Mapping[str, Sequence[str]]) -> list[str]:
    """Models with a stage whose inputs are new, by their keys. Files may be missing as long as dvc.lock knows them."""
    changed = set(stages_to_run(root, [name for names in stages.values() for name in names]))
    return [key for key, names in stages.items() if changed & set(names)]


def stages_to_run(root: Path, stages: Sequence[str]) -> list[str]:
    """Those of the stages that are new or whose inputs changed."""
    known = results.read_lock(root)["stages"]
    asked = [name for name in stages if name in known]
    found = json.loads(ask_dvc(root, "status", "--json", *asked)) if asked else {}
    changed = {name for name, entries in found.items() if any(map(is_change, entries))}
    return [name for name in stages if name not in known or name in changed]


def is_change(entry: str | dict[str, dict[str, Any]]) -> bool:
    """Whether an entry of `dvc status` is more than files that are not in this folder."""
    return isinstance(entry, str) or any(state != "deleted" for files in entry.values() for state in files.values())


def _run(runner: Runner, site: Site) -> list[str]:
    root, pull = runner.root, ["--pull"] if site.remote else []
    planned = of_repository(root)
    if planned.before and not runner.repro([*pull, *planned.before], {}):
        return [BEFORE]
    results.merge(root)  # of a head that was killed
    todo = not_up_to_date(root, {key: planned.on_workers(key) for key in planned.models})
    board = Board(root, planned.models, site.workers)
    for key in planned.models:
        if key not in todo:
            board.change(key, UP_TO_DATE)
    failed = []
    if todo and not runner.stopped:
        orders = Orders(root, site, planned, todo)
        if site.remote and not runner.dvc(["push", *planned.before], {}):
            return [BEFORE]
        try:
            failed = models(runner, site, planned, orders, board)
        finally:
            results.merge(root)
    print(table(board.state), flush=True)
    here = [name for key in planned.models if key not in failed for name in planned.on_workers(key)]
    if runner.stopped or (here and not runner.dvc(["pull" if pull else "checkout", *here], {})):
        return failed or [AFTER]
    if failed:
        return failed
    return [] if runner.repro(pull, {}) else [AFTER]


def models(runner: Runner, site: Site, planned: Plan, orders: Orders, board: Board) -> list[str]:
    """Run models on workers, and keep what each sends back. Returns the keys that failed."""
    from parsl import python_app
    from parsl.dataflow.dflow import DataFlowKernel

    notes = runner.root / NOTES
    notes.mkdir(parents=True, exist_ok=True)
    for old in notes.iterdir():
        old.unlink()
    with DataFlowKernel(engine.config(site, runner.root / FOLDER / "parsl")) as kernel:
        send, ask = (python_app(each, data_flow_kernel=kernel) for each in (work.work, work.probe))
        print("waiting for the first worker", flush=True)
        expected = result_of(ask(orders.probe()), runner)
        if expected is None:
            return list(orders.todo)
        done = [key for key in planned.models if key not in orders.todo]
        fleet.refuse_mixture(runner.root, done, orders.todo, expected)
        waiting, running = list(orders.todo), dict[str, Future[dict[str, Any]]]()
        while (waiting or running) and not runner.stopped:
            while waiting and len(running) < 2 * site.workers:  # so that a worker need not wait for the head
                key = waiting.pop(0)
                board.change(key, SENT)
                running[key] = send(orders.order(key, expected))
            time.sleep(POLL_S)
            for key, future in list(running.items()):
                follow(runner.root, key, future, board)
                if future.done():
                    del running[key]
        for key in running:
            board.change(key, WAITING)
    return [key for key in orders.todo if board.of(key) != DONE]


def result_of(future: Future[Any], runner: Runner) -> Any:
    """The result of the future, or None after an interrupt. Raises StudyError with the reason if it failed."""
    while not runner.stopped:
        if future.done():
            error = future.exception()
            if error is not None:
                raise StudyError(f"no worker could start: {reason_of(error)}; correct the site's file and run again")
            return future.result()
        time.sleep(POLL_S)
    return None


def follow(root: Path, key: str, future: Future[dict[str, Any]], board: Board) -> None:
    """Bring the state of a model up to date."""
    note = root / NOTES / f"{key}.json"
    if not future.done():
        if note.exists():
            board.change(key, RUNNING, read_json(note, "where")["where"])
        return
    error = future.exception()
    if error is None:
        results.keep(root, key, future.result())
        board.change(key, DONE)
    else:
        board.change(key, FAILED, last_line=reason_of(error))
    note.unlink(missing_ok=True)


def reason_of(error: BaseException) -> str:
    """Why a worker failed, in one line."""
    return one_line(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
