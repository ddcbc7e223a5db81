"""A private Slurm on loopback: munge, slurmctld and a slurmd for each node, with folders, sockets and ports of their own.

With accounting, MariaDB and slurmdbd too, and jobs need an account.
"""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "slurmdbd", "mariadbd"]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CONFIG = """ClusterName=probesteer
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
KillWait=2
SlurmdTimeout=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
MinJobAge=7200
MpiDefault=none
GresTypes=gpu
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2880 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 State=UP
"""
NODE = """NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:fake:2
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
"""
DATABASE = """AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
ACCOUNT = "lab"


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
    accounting: bool = False
    cpus: int = 8
    memory: int = 32_000  # MB
    count: int = 1

    @property
    def nodes(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.count + 1)]

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}:{PATH}"}

    def start(self) -> None:
        """Start the daemons and wait until the nodes are idle. Raises RuntimeError with the logs where they are not."""
        for name in ("state", "bin", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname()
        ports = {name: free_port() for name in ("controller_port", "database_port", "mariadb_port")}
        size = {"host": host, "cpus": self.cpus, "memory": self.memory}
        nodes = "".join(NODE.format(name=name, port=free_port(), **size) for name in self.nodes)
        config = CONFIG + (ACCOUNTING if self.accounting else NO_ACCOUNTING)
        for name, text in {"slurm.conf": config, "slurmdbd.conf": DATABASE}.items():
            (self.folder / name).write_text(text.format(host=host, folder=self.folder, **ports))
            (self.folder / name).chmod(0o600)
        with (self.folder / "slurm.conf").open("a") as file:
            file.write(nodes)
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
        if self.accounting:
            self.start_database(ports["mariadb_port"])
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)

    def start_database(self, port: int) -> None:
        """Start MariaDB and slurmdbd, and give root an account."""
        data = self.folder / "mariadb"
        own = ("--no-defaults", f"--datadir={data}", "--user=root")
        self.run("mariadb-install-db", *own, "--auth-root-authentication-method=normal")
        with (self.folder / "mariadb.log").open("w") as log:
            files = (f"--socket={self.folder}/mariadb.socket", f"--pid-file={self.folder}/mariadb.pid")
            network = ("--bind-address=127.0.0.1", f"--port={port}")
            subprocess.Popen(["mariadbd", *own, *files, *network], stdout=log, stderr=log, env={**os.environ, "PATH": PATH})
        grant = (
            "CREATE DATABASE slurm; CREATE USER slurm@127.0.0.1 IDENTIFIED BY 'slurm'; GRANT ALL ON slurm.* TO slurm@127.0.0.1"
        )
        self.until(lambda: self.query(grant))
        self.run("slurmdbd")
        for words in ("cluster probesteer", f"account {ACCOUNT}", f"user root account={ACCOUNT}"):
            self.until(lambda words=words: self.run("sacctmgr", "-i", "add", *words.split(), check=False).returncode == 0)

    def query(self, sql: str) -> bool:
        """Whether MariaDB answers a statement."""
        client = ("mariadb", "--no-defaults", f"--socket={self.folder}/mariadb.socket", "-uroot", "-e", sql)
        return self.run(*client, check=False).returncode == 0

    def until(self, done: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something is so. Raises RuntimeError with the logs where it does not come about."""
        limit = time.monotonic() + seconds
        while not done():
            if time.monotonic() > limit:
                raise RuntimeError("\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log")))
            time.sleep(0.2)

    def start_controller(self) -> None:
        self.run("slurmctld", "-i", "-f", self.folder / "slurm.conf")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd and wait for it."""
        self.run("slurmd", "-f", self.folder / "slurm.conf", "-N", node)
        self.until(lambda: self.states().get(node) in ("idle", "mixed", "allocated"))

    def states(self) -> dict[str, str]:
        """The state of each node."""
        lines = self.run("sinfo", "-h", "-N", "-p", "cpu", "-o", "%N %T", check=False).stdout.splitlines()
        return dict(line.split() for line in lines)

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
        for name in (*(f"slurmd.{node}" for node in self.nodes), "slurmctld", "slurmdbd", "mariadb", "munge"):
            self.kill(name, signal.SIGTERM)

    def kill(self, daemon: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """Send a daemon a signal and wait for its end, which is forced after five seconds."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / f"{daemon}.pid").read_text())
            os.kill(pid, sent)
            for _ in range(50):
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return  # over, though nobody has asked for its exit code
                time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)


def cluster_of(folder: Path, nodes: int) -> Slurm:
    """One large node, or several of 4 CPUs and 8 GB."""
    return Slurm(folder) if nodes == 1 else Slurm(folder, cpus=4, memory=7_800, count=nodes)
