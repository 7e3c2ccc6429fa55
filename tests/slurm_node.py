"""A SLURM of one node on this machine, from Debian's packages slurm-wlm, slurm-wlm-basic-plugins and munge."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue")
CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
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


@contextmanager
def node(folder: Path) -> Iterator[dict[str, str]]:
    """Start SLURM, with its files in a folder; gives the environment variables for its commands."""
    host, configuration = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, cores=os.cpu_count()))
    variables = {**os.environ, "SLURM_CONF": str(configuration)}
    if not Path("/run/munge/munge.socket.2").exists():
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "munged"], check=True)
    try:
        for program in ("slurmctld", "slurmd"):
            subprocess.run([program], env=variables, check=True)
            time.sleep(2)
        yield variables
    finally:
        for name in ("d.pid", "ctld.pid"):
            if (folder / name).exists():
                os.kill(int((folder / name).read_text()), 15)
