"""Several models at once on this machine, in the working tree: each job is a `dvc repro` of one model's stages."""

from __future__ import annotations

import queue
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from robustness_study.core.errors import StudyError
from tools.scale import fleet
from tools.scale.board import DONE, FAILED, RUNNING, WAITING, Board, table
from tools.scale.plan import Plan, of_repository, place
from tools.scale.processes import Runner

BEFORE, AFTER = "a stage before the models", "a stage after the models"


def run(root: Path, environments: list[dict[str, str]]) -> list[str]:
    """Run the whole pipeline of the repository at `root`, with one job for each of `environments`.

    Returns what failed: keys of models, `BEFORE` or `AFTER`. If one model fails, the others continue, but the stages
    that compare them do not run. After an interrupt it waits until the running stages end. It passes on each further
    interrupt.
    """
    runner = Runner(root)
    return until_done(lambda: _run(runner, environments), runner)


def until_done(work: Callable[[], list[str]], runner: Runner) -> list[str]:
    """The result of `work`, which runs in another thread, because this one receives the interrupts.

    An interrupt stops `runner`; once `work` has ended, it is raised.
    """
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(work)
        while not failed.done():
            try:
                wait([failed])
            except KeyboardInterrupt:
                runner.stop()
    if runner.stopped:
        raise KeyboardInterrupt
    return failed.result()


def _run(runner: Runner, environments: list[dict[str, str]]) -> list[str]:
    try:
        planned = of_repository(runner.root)
    except StudyError as error:
        print(error, file=sys.stderr)
        return [BEFORE]
    if planned.before and not runner.repro(planned.before, {}):
        return [BEFORE]
    fleet.refuse_mixture_here(runner.root, planned, environments[0])
    board = Board(runner.root, planned.models, len(environments))
    failed = models(runner, planned, environments, board)
    print(table(board.state), flush=True)
    if failed:
        return failed
    return [] if runner.repro([], {}) else [AFTER]


def models(runner: Runner, planned: Plan, environments: list[dict[str, str]], board: Board) -> list[str]:
    """Run the stages of every model, `len(environments)` models at a time. Returns the keys of those that failed."""
    from parsl import python_app
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors.threads import ThreadPoolExecutor as ParslThreads

    free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for settings in environments:
        free.put(settings)

    def one(key: str) -> bool:
        if runner.stopped:
            return False
        settings = free.get()
        try:
            board.change(key, RUNNING, place(settings))

            def told(line: str) -> None:
                print(f"{key}: {line}", end="", flush=True)
                board.note(key, line)

            good = runner.repro(["--single-item", *planned.models[key]], settings, told)
            board.change(key, DONE if good else WAITING if runner.stopped else FAILED)
            return good
        finally:
            free.put(settings)

    # Threads and not Parsl's workers: those need 10 s to start. A job's work is in DVC's own processes anyway.
    threads = ParslThreads(label="this_machine", max_threads=len(environments))
    with tempfile.TemporaryDirectory() as logs:
        config = Config(executors=[threads], run_dir=logs, initialize_logging=False, strategy="none", retries=0)
        with DataFlowKernel(config) as kernel:
            submit = python_app(one, data_flow_kernel=kernel)
            futures: dict[str, Future[bool]] = {key: submit(key) for key in planned.models}
            wait(futures.values())
    return [key for key, future in futures.items() if not future.result()]
