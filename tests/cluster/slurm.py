"""A private Slurm of one node on loopback: munge, slurmctld and slurmd, each with a folder, a socket and a port of its own."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol"]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CONFIG = """ClusterName=probesteer
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
MinJobAge=7200
MpiDefault=none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes={host} MaxTime=2880 State=UP
"""


def missing() -> list[str]:
    """What a private Slurm needs and this machine lacks: programs, root, a host name that resolves, device nodes."""
    lacking = [f"{program} is missing" for program in PROGRAMS if not shutil.which(program, path=PATH)]
    lacking += ["not root"] if os.geteuid() else []
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        lacking.append("the host name does not resolve")
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(f"{folder}/node", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            lacking.append("device nodes cannot be made")
    return lacking


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Slurm:
    """A running cluster; `environment` makes the Slurm commands of a child process talk to it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}:{PATH}"}

    def start(self) -> None:
        """Start the three daemons and wait until the node is idle. Raises RuntimeError with the logs where it is not."""
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname()
        ports = {"controller_port": free_port(), "node_port": free_port()}
        (self.folder / "slurm.conf").write_text(CONFIG.format(host=host, folder=self.folder, **ports))
        for number in range(2):
            os.mknod(self.folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"Name=gpu Type=fake File={self.folder}/gpu[0-1]\n")
        # Snakemake's job step drops SLURM_CONF before it calls srun
        wrapper = self.folder / "bin/srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun", path=PATH)} "$@"\n')
        wrapper.chmod(0o755)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.run("munged", "--force", *(f"--{option}={self.folder}/munge.{name}" for option, name in files.items()))
        self.run("slurmctld", "-i", "-f", self.folder / "slurm.conf")
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait for the node."""
        self.run("slurmd", "-f", self.folder / "slurm.conf")
        for _ in range(100):
            state = self.run("sinfo", "-h", "-o", "%T", check=False).stdout.split()
            if state and set(state) <= {"idle", "mixed", "allocated"}:
                return
            time.sleep(0.2)
        raise RuntimeError("\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log")))

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a Slurm command against this cluster."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")
        return done

    def jobs(self) -> list[dict[str, str]]:
        """Every job that the controller remembers, as its `Key=Value` record."""
        lines = self.run("scontrol", "show", "jobs", "-o").stdout.splitlines()
        return [dict(part.partition("=")[::2] for part in line.split() if "=" in part) for line in lines if "JobId=" in line]

    def stop(self) -> None:
        """Stop what was started: jobs first, then the daemons by their pid files."""
        self.run("scancel", "--user=root", check=False)
        for name in ("slurmd", "slurmctld", "munge"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self.folder / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                for _ in range(50):
                    os.kill(pid, 0)
                    time.sleep(0.1)
                os.kill(pid, signal.SIGKILL)
