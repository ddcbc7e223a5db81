"""What can happen to a study on a cluster, and what one more run makes of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from conftest import World, make_world
from slurm import Slurm

from probesteer.files.seal import is_whole

# Few rows a batch: the cells of a sweep are written a few at a time, and there is time for a fault between them.
STUDY = {"resources": {"gpus": 1, "mem_mb": 1500, "batch_rows": 6}}
TIMED = {"cost", "reassessment"}  # tables that hold times
VERBS = {rule: rule for rule in ("activations", "baseline", "steer", "score", "aggregate")} | {"probe": "detect"}
# What is not there yet when a rule's jobs are submitted, below results/
REST = ["small/texts", "small/scores", "small/effects", "small/council"]
LATER = {
    "activations": ["activations", "small/*"],
    "baseline": ["small/steering/arm=baseline", "small/steering/arm=prompted*", *REST],
    "probe": ["small/probes", "small/detection", "small/steering", *REST],
    "steer": ["small/steering/arm=*/model=*/layer=*", *REST],
    "score": REST,
    "aggregate": ["small/effects"],
    "finished": [],
}


def prepare(finished: World, folder: Path, phase: str) -> World:
    """A copy of a world in which the study has run, up to where the jobs of a rule are due."""
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    for pattern in LATER[phase]:
        for path in (folder / "results").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return asking_often(World(folder))


def asking_often(world: World) -> World:
    """The world, whose Snakemake is not slow to notice that a submitted job has ended."""
    world.program = [sys.executable, str(Path(__file__).parent / "often.py")]
    return world


@dataclass
class Scene:
    """A study that runs on a cluster, to be disturbed."""

    slurm: Slurm
    world: World
    study: Path
    run: subprocess.Popen[str] | None = None
    away: list[str] = field(default_factory=list)
    """Nodes that no administrator puts back."""

    def arguments(self) -> list[str]:
        return ["--profile", "profiles/slurm", "--configfile", str(self.study)]

    def start(self, *options: str) -> None:
        self.run = self.world.start(*self.arguments(), *options, quiet=True, **self.slurm.environment)

    def again(self) -> subprocess.CompletedProcess[str]:
        """One more run; where a killed Snakemake left its lock, after `--unlock`."""
        done = self.world.snakemake(*self.arguments(), **self.slurm.environment)
        if done.returncode and "--unlock" in done.stderr:
            self.world.snakemake(*self.arguments(), "--unlock", **self.slurm.environment)
            done = self.world.snakemake(*self.arguments(), **self.slurm.environment)
        return done

    def jobs(self, state: str = "RUNNING") -> list[dict[str, str]]:
        """The jobs of this world in a state, as Slurm tells them."""
        here = str(self.world.folder)
        return [job for job in self.slurm.jobs() if job["JobState"] == state and here == job.get("WorkDir")]

    def worker(self, phase: str) -> int:
        """The process that does the work of a rule, waited for."""
        return wait_for(lambda: next(self.processes(f"probesteer {VERBS[phase]} ".encode()), None))

    def processes(self, named: bytes) -> Iterator[int]:
        """Processes in the world's folder whose command line holds a text; shells apart."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                if named in words and b"sh -c" not in words and Path(os.readlink(folder / "cwd")) == self.world.folder:
                    yield int(folder.name)
            except OSError:
                continue

    def job(self, phase: str) -> str:
        """The id of the job in which a rule's process runs, waited for."""
        return self.variable(self.worker(phase), b"SLURM_JOB_ID=")

    def node(self, phase: str) -> str:
        """The node on which a rule's process runs, waited for."""
        return self.variable(self.worker(phase), b"SLURMD_NODENAME=")

    def variable(self, pid: int, name: bytes) -> str:
        """A variable of a process's environment, empty where there is none."""
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next((word.removeprefix(name).decode() for word in environment if word.startswith(name)), "")

    def finish(self, seconds: float = 400) -> None:
        """Wait until the run and its jobs have ended; as an administrator would, put nodes back and release held jobs."""
        limit = time.monotonic() + seconds
        while (self.run and self.run.poll() is None) or any(map(self.jobs, ("RUNNING", "PENDING", "COMPLETING"))):
            if time.monotonic() > limit:
                raise AssertionError(f"not over after {seconds:.0f} seconds")
            for node, state in self.slurm.states().items():
                if node not in self.away and state.startswith(("drain", "down")):
                    set_node(self, node, "RESUME")
            for job in self.jobs("PENDING"):
                if "held" in job.get("Reason", ""):
                    self.slurm.run("scontrol", "release", job["JobId"], check=False)
            time.sleep(1)


def wait_for(what: Callable[[], object], seconds: float = 120) -> object:
    """Call `what` until it gives something."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


Happening = Callable[[Scene, str], AbstractContextManager[None] | None]


def some_cells(scene: Scene) -> bool:
    """Whether the sweep has written some of its cells."""
    return len(list((scene.world.folder / "results/small/steering").glob("arm=probe/**/cell.parquet"))) >= 2


# --- during a run ---


def cancelled(scene: Scene, phase: str) -> None:
    scene.slurm.run("scancel", scene.job(phase))


def cancelled_half_way(scene: Scene, phase: str) -> None:
    job = scene.job(phase)
    wait_for(lambda: some_cells(scene))
    scene.slurm.run("scancel", job)


def worker_killed(scene: Scene, phase: str) -> None:
    os.kill(scene.worker(phase), signal.SIGKILL)


def worker_killed_half_way(scene: Scene, phase: str) -> None:
    pid = scene.worker(phase)
    wait_for(lambda: some_cells(scene))
    os.kill(pid, signal.SIGKILL)


def whole_job_killed(scene: Scene, phase: str) -> None:
    scene.slurm.run("scancel", "--full", "--signal=KILL", scene.job(phase))


def killed_with(sent: signal.Signals) -> Happening:
    def snakemake_killed(scene: Scene, phase: str) -> None:
        scene.worker(phase)
        scene.run.send_signal(sent)
        if sent == signal.SIGTERM:  # drains for long
            time.sleep(5)
            scene.run.kill()

    return snakemake_killed


def snakemake_killed_half_way(scene: Scene, phase: str) -> None:
    scene.worker(phase)
    wait_for(lambda: some_cells(scene))
    scene.run.kill()


def everything_killed(scene: Scene, phase: str) -> None:
    job = scene.job(phase)
    scene.run.kill()
    scene.slurm.run("scancel", "--full", "--signal=KILL", job)


def daemon_killed(daemon: str) -> Happening:
    def killed(scene: Scene, phase: str) -> None:
        node = scene.node(phase)
        scene.slurm.kill(daemon if daemon == "slurmctld" else f"{daemon}.{node}")
        time.sleep(2)
        if daemon == "slurmctld":
            scene.slurm.start_controller()
        else:
            scene.slurm.start_node(node)

    return killed


def timed_out(scene: Scene, phase: str) -> None:
    """The job gets stuck, and its time limit ends it."""
    job, pid = scene.job(phase), scene.worker(phase)
    os.kill(pid, signal.SIGSTOP)
    scene.slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")


def drained(scene: Scene, phase: str) -> None:
    node = scene.node(phase)
    set_node(scene, node, "DRAIN")
    time.sleep(8)
    set_node(scene, node, "RESUME")


def node_down(scene: Scene, phase: str) -> None:
    node = scene.node(phase)
    set_node(scene, node, "DOWN")
    time.sleep(3)
    set_node(scene, node, "RESUME")


@contextmanager
def node_dies(scene: Scene, phase: str) -> Iterator[None]:
    """A node of several, with all that ran there, and it does not come back before the run has ended."""
    node = scene.node(phase)
    scene.slurm.kill(f"slurmd.{node}")
    for pid in list(scene.processes(b"")):
        with suppress(OSError):
            if scene.variable(pid, b"SLURMD_NODENAME=") == node:
                os.kill(pid, signal.SIGKILL)
    with left_alone(scene, [node], "DOWN"):
        yield
    scene.slurm.start_node(node)


@contextmanager
def all_but_one_drained(scene: Scene, phase: str) -> Iterator[None]:
    """Only a node on which the rule's job does not run takes new jobs."""
    node = scene.node(phase)
    with left_alone(scene, [node, next(name for name in scene.slurm.nodes if name != node)], "DRAIN"):
        yield


@contextmanager
def left_alone(scene: Scene, nodes: list[str], state: str) -> Iterator[None]:
    """Nodes in a state, until the run has ended."""
    scene.away += nodes
    for node in nodes:
        set_node(scene, node, state)
    yield
    for node in nodes:
        set_node(scene, node, "RESUME")


def set_node(scene: Scene, node: str, state: str) -> None:
    back = state == "RESUME"  # refused by a node that came back by itself
    scene.slurm.run("scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=fault", check=not back)


def requeued(scene: Scene, phase: str) -> None:
    job = scene.job(phase)
    scene.slurm.run("scontrol", "requeue", job)
    start_now(scene, job)


def start_now(scene: Scene, job: str) -> None:
    """A requeued job waits for two minutes otherwise."""
    wait_for(lambda: any(found["JobId"] == job for found in scene.jobs("PENDING")))
    wait_for(lambda: scene.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False).returncode == 0)


def preempted(scene: Scene, phase: str) -> None:
    job = scene.job(phase)
    urgent(scene)
    start_now(scene, job)


def preempted_for_good(scene: Scene, phase: str) -> None:
    """The job is cancelled, the plugin waits for a requeue, and the user loses patience."""
    scene.slurm.run("scontrol", "update", f"JobId={scene.job(phase)}", "Requeue=0")
    urgent(scene)
    time.sleep(15)
    scene.run.send_signal(signal.SIGINT)


def urgent(scene: Scene) -> None:
    """A job of a partition with priority takes the whole node for a while."""
    wide = ("--partition=urgent", "--exclusive", "--mem=0", "--gres=gpu:2", "--wrap=sleep 5", "--output=/dev/null")
    scene.slurm.run("sbatch", "--wait", *wide)


@contextmanager
def disk_full(scene: Scene, phase: str) -> Iterator[None]:
    scene.worker(phase)
    with filled(scene.world.folder):
        yield


@contextmanager
def disk_full_half_way(scene: Scene, phase: str) -> Iterator[None]:
    scene.worker(phase)
    wait_for(lambda: some_cells(scene))
    with filled(scene.world.folder):
        yield


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free on the file system of a folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**10, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    yield
    filler.unlink()


@contextmanager
def read_only(scene: Scene, phase: str) -> Iterator[None]:
    scene.worker(phase)
    results = scene.world.folder / "results"
    subprocess.run(["mount", "--bind", results, results], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", results], check=True)
    yield
    subprocess.run(["umount", "--lazy", results], check=True)


def report_stays(happen: Happening) -> Happening:
    """The last report is there, as it was, when the run that was to replace it has failed."""

    @contextmanager
    def stays(scene: Scene, phase: str) -> Iterator[None]:
        council = scene.world.folder / "results/small/council"
        before = {path: path.read_bytes() for path in council.rglob("*") if path.is_file() and path.suffix != ".log"}
        with happen(scene, phase) or nullcontext():
            yield
        if any(not path.exists() or path.read_bytes() != data for path, data in before.items()):
            raise AssertionError("the last report did not stay")

    return stays


# --- before a run ---


def victim(scene: Scene, kind: str) -> Path:
    """A result of a kind."""
    patterns = {
        "steered cell": "small/steering/arm=probe/**/cell.parquet",
        "control cell": "small/steering/arm=random-1/**/cell.parquet",
        "baseline cell": "small/steering/arm=baseline/**/cell.parquet",
        "activation cache": "activations/**/*.parquet",
        "detection table": "small/detection/**/*.parquet",
        "table of texts": "small/texts/**/*.parquet",
        "table of scores": "small/scores/**/*.parquet",
        "probe": "small/probes/**/*.safetensors",
        "model card": "models/**/*.json",
    }
    return sorted((scene.world.folder / "results").glob(patterns[kind]))[0]


def damaged(kind: str, how: str) -> Happening:
    ways: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda data: data[: len(data) * 2 // 3],
        "a flipped bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :],
        "empty": lambda data: b"",
        "zeros": lambda data: bytes(len(data)),
    }

    def spoil(scene: Scene, phase: str) -> None:
        path = victim(scene, kind)
        path.write_bytes(ways[how](path.read_bytes()))

    return spoil


def deleted(kind: str) -> Happening:
    return lambda scene, phase: victim(scene, kind).unlink()


def records_lost(scene: Scene, phase: str) -> None:
    shutil.rmtree(scene.world.folder / ".snakemake")


def records_lost_and_cell_damaged(scene: Scene, phase: str) -> None:
    records_lost(scene, phase)
    damaged("steered cell", "truncated")(scene, phase)


def records_lost_in_the_run(scene: Scene, phase: str) -> None:
    snakemake_killed_half_way(scene, phase)
    scene.finish()
    records_lost(scene, phase)


def records_lost_and_study_changed(scene: Scene, phase: str) -> None:
    """The results are those of another seed, and nothing says so but their fingerprints."""
    scene.world.study(**STUDY, seed=1)
    done = scene.world.snakemake("--configfile", str(scene.study), "--keep-incomplete")
    assert done.returncode == 0, done.stderr[-2000:]
    records_lost(scene, phase)
    scene.world.study(**STUDY)


DAY = 86_400  # seconds
MADE, GIVEN = ["results"], ["resources", "config", "workflow", "Snakefile"]


def dated(folders: list[str], days: int) -> Happening:
    """What a clock leaves that was set wrong: files of another day."""

    def date(scene: Scene, phase: str) -> None:
        for path in (path for name in folders for path in [scene.world.folder / name, *(scene.world.folder / name).rglob("*")]):
            seconds = path.stat().st_mtime + days * DAY
            os.utime(path, (seconds, seconds))

    return date


def clock_put_right(days: int) -> Happening:
    """The clock was wrong by days until a sweep's first cells were there."""

    def put_right(scene: Scene, phase: str) -> None:
        scene.worker(phase)
        wait_for(lambda: some_cells(scene))
        os.kill(scene.worker(phase), signal.SIGSTOP)  # while files get other dates
        dated(MADE, days)(scene, phase)
        os.kill(scene.worker(phase), signal.SIGCONT)

    return put_right


@dataclass(frozen=True)
class Fault:
    """Something that happens while a rule's jobs run, or to results that are there."""

    name: str
    phase: str
    happen: Happening
    options: tuple[str, ...] = ()
    running: bool = True
    tmpfs: bool = False
    stale: bool = False
    """Whether all cells are out of date after it, so that computing them again is needed."""
    nodes: int = 1
    """Of the cluster; three of them have 4 CPUs and 8 GB each."""


def on(happen: Happening, name: str, *phases: str, **more: object) -> list[Fault]:
    return [Fault(name, phase, happen, **more) for phase in phases]


ALL = ("activations", "baseline", "probe", "steer", "score")
MODEL = ("activations", "baseline", "steer")
LITTLE_MEMORY = ("--retries", "0", "--set-resources")
KINDS = ("steered cell", "control cell", "baseline cell", "activation cache", "detection table")
LIGHT = ("table of texts", "table of scores", "probe", "model card")
FAULTS = [
    *on(cancelled, "scancel", *ALL),
    *on(cancelled_half_way, "scancel after some cells", "steer"),
    *on(worker_killed, "SIGKILL of the worker", *ALL),
    *on(worker_killed_half_way, "SIGKILL of the worker after some cells", "steer"),
    *on(whole_job_killed, "SIGKILL of the whole job", *MODEL),
    *on(killed_with(signal.SIGKILL), "SIGKILL of Snakemake", *ALL),
    *on(snakemake_killed_half_way, "SIGKILL of Snakemake after some cells", "steer"),
    *on(killed_with(signal.SIGTERM), "SIGTERM, then SIGKILL of Snakemake", "steer"),
    *on(killed_with(signal.SIGINT), "SIGINT to Snakemake", "steer"),
    *on(everything_killed, "SIGKILL of Snakemake and of the job", *MODEL),
    *on(daemon_killed("slurmd"), "SIGKILL of slurmd", *MODEL),
    *on(daemon_killed("slurmctld"), "SIGKILL of slurmctld", "activations", "steer"),
    *on(timed_out, "time limit", "activations", "steer"),
    *(
        Fault("memory limit", p, lambda s, _: None, (*LITTLE_MEMORY, f"{r}:mem_mb=300"))
        for p, r in (("activations", "activations"), ("baseline", "baseline"), ("steer", "steer_1"))
    ),
    *on(drained, "node drained", "activations", "steer"),
    *on(node_down, "node down", "activations", "steer"),
    *on(requeued, "requeue", "activations", "steer"),
    *on(preempted, "preemption", "activations", "steer"),
    *on(preempted_for_good, "preemption that cancels, then SIGINT", "steer"),
    *on(disk_full, "disk full", *MODEL, tmpfs=True),
    *on(disk_full_half_way, "disk full after some cells", "steer", tmpfs=True),
    *on(read_only, "results read-only", *MODEL),
    *on(report_stays(worker_killed), "SIGKILL of the worker", "aggregate"),
    *on(report_stays(disk_full), "disk full", "aggregate", tmpfs=True),
    *on(report_stays(read_only), "results read-only", "aggregate"),
    *on(killed_with(signal.SIGKILL), "SIGKILL of Snakemake", "aggregate"),
    *on(node_dies, "one of three nodes dies", *MODEL, nodes=3),
    *on(all_but_one_drained, "two of three nodes drained", "baseline", "steer", nodes=3),
    *(
        Fault(f"the clock was a day {how} until some cells were there", "steer", clock_put_right(days))
        for how, days in (("fast", 1), ("slow", -1))
    ),
    *(
        Fault(f"{what} dated {day}", "finished", dated(folders, days), running=False)
        for what, folders in (("results", MADE), ("sources", GIVEN), ("results and sources", MADE + GIVEN))
        for day, days in (("tomorrow", 1), ("yesterday", -1))
    ),
    *(
        Fault(f"{kind}: {how}", "finished", damaged(kind, how), running=False)
        for kind in KINDS
        for how in ("truncated", "a flipped bit")
    ),
    *(Fault(f"{kind}: a flipped bit", "finished", damaged(kind, "a flipped bit"), running=False) for kind in LIGHT),
    *(Fault(f"{kind}: truncated", "finished", damaged(kind, "truncated"), running=False) for kind in LIGHT),
    *(Fault(f"steered cell: {how}", "finished", damaged("steered cell", how), running=False) for how in ("empty", "zeros")),
    *(
        Fault(f"{kind}: deleted", "finished", deleted(kind), running=False)
        for kind in ("steered cell", "detection table", "probe")
    ),
    Fault("`.snakemake/` lost", "finished", records_lost, running=False),
    Fault("`.snakemake/` lost, a cell truncated", "finished", records_lost_and_cell_damaged, running=False),
    Fault("`.snakemake/` lost after SIGKILL of Snakemake", "steer", records_lost_in_the_run),
    Fault("`.snakemake/` lost, study changed", "finished", records_lost_and_study_changed, running=False, stale=True),
]


@dataclass(frozen=True)
class Outcome:
    """What one more run made of a fault."""

    first: str
    """How the disturbed run ended: its exit code, or that there was none."""
    complete: bool
    seconds: float
    kept: int
    """Cells and caches that were whole before it."""
    recomputed: int
    """Of these, how many it computed again."""
    half_written: list[str]
    different: list[str]
    """Tables that are not those of the undisturbed run."""

    @property
    def good(self) -> bool:
        return self.complete and not self.recomputed and not self.half_written and not self.different


def expensive(world: World) -> dict[Path, bytes]:
    """Whole cells and activation caches."""
    root = world.folder / "results"
    paths = [*root.glob("small/steering/**/cell.parquet"), *root.glob("activations/**/*.parquet")]
    return {path: path.read_bytes() for path in paths if is_whole(path)}


def differing(world: World, undisturbed: World) -> list[str]:
    """Tables of a world that are missing, added, or not those of the undisturbed one."""
    found, expected = (tables(one) for one in (world, undisturbed))
    names = set(found) ^ set(expected)
    for name in set(found) & set(expected):
        try:
            pd.testing.assert_frame_equal(*(read_result(one.folder / "results" / name) for one in (world, undisturbed)))
        except (AssertionError, OSError, ValueError):
            names.add(name)
    return sorted(names)


def read_result(path: Path) -> pd.DataFrame:
    """A table without the check that quotes a time."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path, partitioning=None)
    table = pd.read_csv(path)
    return table[table["check"] != "time and memory"].reset_index(drop=True) if path.stem == "checks" else table


def tables(world: World) -> set[str]:
    root = world.folder / "results"
    paths = [*root.rglob("*.parquet"), *root.glob("small/council/tables/*.csv")]
    return {str(path.relative_to(root)) for path in paths if path.stem not in TIMED and not path.name.startswith(".")}


def suffer(fault: Fault, slurm: Slurm, undisturbed: World, folder: Path) -> Outcome:
    """Let a fault happen to a study, run once more, and look at what is there."""
    folder.mkdir()
    with mounted(folder) if fault.tmpfs else nullcontext():
        world = prepare(undisturbed, folder / "world", fault.phase)
        scene = Scene(slurm, world, world.folder / "config/studies/small.yaml")
        if fault.running:
            scene.start(*fault.options)
        with fault.happen(scene, fault.phase) or nullcontext():
            scene.finish()
        before = expensive(world)
        started = time.monotonic()
        done = scene.again()
        seconds = time.monotonic() - started
        after = {path: path.read_bytes() if path.exists() else b"" for path in before}
        recomputed = 0 if fault.stale else sum(after[path] != data for path, data in before.items())
        half = [
            str(path)
            for path in (world.folder / "results").rglob(".*")
            if path.is_file() and path.name != ".snakemake_timestamp"
        ]
        different = differing(world, undisturbed)
        if done.returncode:
            (folder / "again.log").write_text(done.stdout + done.stderr)
        first = "none" if scene.run is None else f"exit {scene.run.returncode}"
        return Outcome(first, done.returncode == 0, seconds, len(before), recomputed, half, different)


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small file system of its own at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def finished_world(folder: Path) -> World:
    """A world in which the study has run, undisturbed, on this machine."""
    world = make_world(folder)
    world.run(world.study(**STUDY))
    return world
