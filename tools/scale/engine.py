"""Turns a site into Parsl's configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness_study.core.errors import StudyError
from tools.scale.guarded import INTERCHANGE
from tools.scale.site import LOSSES_PER_FAILURE, Site, worker_init

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.providers.base import ExecutionProvider

HEARTBEAT_S, LOST_AFTER_S = 5, 30  # Parsl's own 30 and 120 s would let a dead worker's model wait longer


def config(site: Site, logs: Path) -> Config:
    """The configuration of Parsl for a site. Parsl writes its logs and job scripts into the folder `logs`."""
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    # Parsl finds its own programs on PATH, where they are not if the environment is not activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if site.config is not None:
        chosen: Config = site.config
        chosen.run_dir, chosen.retries, chosen.retry_handler = str(logs), LOSSES_PER_FAILURE, retry_handler(site)
        return chosen
    workers = HighThroughputExecutor(
        label="workers",
        provider=provider(site),
        address=site.address or ("127.0.0.1" if site.provider == "local" else None),
        max_workers_per_node=site.workers_per_node,
        cores_per_worker=1e-6,  # `workers_per_node` decides alone
        available_accelerators=site.accelerators,
        interchange_launch_cmd=[sys.executable, "-m", "tools.scale.guarded", INTERCHANGE],
        heartbeat_period=HEARTBEAT_S,
        heartbeat_threshold=LOST_AFTER_S,
        encrypted=site.shares_files,  # the keys are files that the workers read
    )
    return Config(
        executors=[workers],
        run_dir=str(logs),
        retries=LOSSES_PER_FAILURE,
        retry_handler=retry_handler(site),
        strategy="htex_auto_scale",  # gives idle nodes back
        initialize_logging=True,
    )


def provider(site: Site) -> ExecutionProvider:
    """Parsl's provider of nodes."""
    from parsl.errors import OptionalModuleMissing
    from parsl.providers import KubernetesProvider, LocalProvider, PBSProProvider, SlurmProvider

    blocks: dict[str, Any] = {"init_blocks": 1, "min_blocks": 0, "max_blocks": site.nodes}
    walltime = f"{site.walltime_minutes // 60:02d}:{site.walltime_minutes % 60:02d}:00"
    commands, options = worker_init(site), "\n".join(site.options)
    match site.provider:
        case "slurm":
            gpus = site.gpus_per_node or None
            return SlurmProvider(
                partition=site.partition, account=site.account, walltime=walltime, scheduler_options=options,
                worker_init=commands, exclusive=False,
                cores_per_node=site.workers_per_node * site.threads_per_worker, gpus_per_node=gpus, **blocks,
            )  # fmt: skip
        case "pbs":
            gpus_wanted = f"ngpus={site.gpus_per_node}" if site.gpus_per_node else ""
            return PBSProProvider(  # type: ignore[no-untyped-call]
                queue=site.partition, account=site.account, walltime=walltime, scheduler_options=options,
                select_options=gpus_wanted, worker_init=commands,
                cpus_per_node=site.workers_per_node * site.threads_per_worker, **blocks,
            )  # fmt: skip
        case "kubernetes":
            assert site.image is not None
            gpus_limit = {"nvidia.com/gpu": str(site.gpus_per_node)} if site.gpus_per_node else {}
            try:
                return KubernetesProvider(
                    image=site.image, namespace=site.namespace, worker_init=commands, extra_limits=gpus_limit,
                    init_cpu=site.workers_per_node * site.threads_per_worker,
                    max_cpu=site.workers_per_node * site.threads_per_worker,
                    init_mem=site.memory, max_mem=site.memory, **blocks,
                )  # fmt: skip
            except OptionalModuleMissing:
                raise StudyError(
                    "provider is kubernetes, but the package kubernetes is not installed; type `pip install kubernetes`"
                ) from None
        case "local":
            return LocalProvider(worker_init=commands, **blocks)  # type: ignore[no-untyped-call]


def retry_handler(site: Site) -> Any:
    """What an attempt that ended badly costs: little if the worker was lost, more if a stage failed."""

    def cost(error: Exception, record: TaskRecord) -> float:
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        return site.cost(isinstance(error, ManagerLost | WorkerLost))

    return cost
