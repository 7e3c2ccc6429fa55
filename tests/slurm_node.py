"""A SLURM of one node on this machine, from Debian's packages slurm-wlm, slurm-wlm-basic-plugins and munge."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "sinfo")
PATIENCE_S = 60  # for the node to be idle
CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why SLURM cannot start here; None if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurm-wlm slurm-wlm-basic-plugins munge"
    return None if os.geteuid() == 0 else "a SLURM of one's own needs root"


def free_ports(count: int) -> list[int]:
    """Ports that no program listens at."""
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in opened]


@contextmanager
def node(folder: Path) -> Iterator[dict[str, str]]:
    """Start SLURM and munge, with all of their files in a folder and ports of their own.

    Gives the environment variables for SLURM's commands. Skips the test if the node is not idle after a minute, as on a
    machine whose name or network SLURM cannot use.
    """
    host, configuration = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    text = CONFIGURATION.format(host=host, folder=folder, cores=os.cpu_count(), ports=free_ports(2))
    configuration.write_text(text, encoding="utf-8")
    variables = {**os.environ, "SLURM_CONF": str(configuration)}
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{name}" for option, name in names.items()]
    try:
        for command in (["munged", "--force", *options], ["slurmctld"], ["slurmd"]):
            subprocess.run(command, env=variables, check=False, capture_output=True)
        until = time.monotonic() + PATIENCE_S
        while (state := printed("sinfo --noheader --format=%T", variables)) != "idle":
            if time.monotonic() > until:
                pytest.skip(f"SLURM does not start on this machine; its node is {state or 'unknown'}")
            time.sleep(0.5)
        yield variables
    finally:
        for name in ("d.pid", "ctld.pid", "munge.pid"):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((folder / name).read_text()), 15)


def printed(command: str, variables: dict[str, str]) -> str:
    """What a command of SLURM prints, without its complaints."""
    done = subprocess.run(command.split(), env=variables, check=False, capture_output=True, text=True)
    return done.stdout.strip()
