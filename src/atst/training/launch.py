"""Which process of a training this is, what started the others, and whether their number is right."""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from atst.errors import UsageError
from atst.output import lock
from atst.training import signals


@dataclass(frozen=True)
class Started:
    """Processes that another program started together, and this one's place among them."""

    by: str
    variable: str  # the environment variable with their number
    count: int
    rank: int
    local_rank: int
    node: int
    nodes: int


def started() -> Started | None:
    """What `srun` or `torchrun` started. None: one process, or one that the first process started itself."""
    env = os.environ
    if all(name in env for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")):
        count, here = int(env["WORLD_SIZE"]), int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
        node, nodes = int(env.get("GROUP_RANK", "0")), max(1, count // max(1, here))
        return Started("torchrun", "WORLD_SIZE", count, int(env["RANK"]), int(env["LOCAL_RANK"]), node, nodes)
    if all(name in env for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")):
        count, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_STEP_NUM_NODES", "1"))
        rank, local = int(env["SLURM_PROCID"]), int(env["SLURM_LOCALID"])
        node = int(env.get("SLURM_NODEID", "0"))
        return Started("srun", "SLURM_STEP_NUM_TASKS", count, rank, local, node, nodes)
    return None


def is_first_process() -> bool:
    """Whether this is the one process, or the first of several that train together."""
    together = started()
    if together is not None:
        return together.rank == 0
    return os.environ.get("LOCAL_RANK", "0") == "0"


def check_processes(devices: int = 1) -> None:
    """Compare the devices of a training with the processes that were started for it; advise on batch scripts.

    Raises `UsageError`, and in all processes but the first `SystemExit` with its code: one message is enough.
    """
    if devices < 1:
        raise UsageError(f"--devices {devices}: must be 1 or more.")
    problem = _mismatch(devices)
    if problem is not None:
        if not is_first_process():
            raise SystemExit(UsageError.exit_code)
        raise UsageError(problem)
    if is_first_process():
        _advise()


def _mismatch(devices: int) -> str | None:
    together = started()
    started_alone = together is None and "LOCAL_RANK" not in os.environ
    if started_alone and devices > 1 and (tasks := os.environ.get("SLURM_NTASKS")):
        return (
            f"--devices {devices} in a job with SLURM_NTASKS={tasks}, but this one process was not started "
            f"by srun: use `#SBATCH --ntasks-per-node={devices}` and `srun atst ... --devices {devices}`."
        )
    if together is None or together.count == devices:
        if together is not None and devices % together.nodes:
            return f"{together.variable}={devices} on {together.nodes} nodes: start the same number on each."
        return None
    says = f"--devices {devices}, but {together.variable}={together.count}"
    if together.by == "torchrun":
        return f"{says}: start it with `torchrun --nproc-per-node={devices}`."
    if devices == 1:
        return (
            f"{says}, which starts copies of one command: for one training on all of them add `--devices "
            f"{together.count}`, for one process use `srun --ntasks=1 atst ...`, for several runs an array."
        )
    return (
        f"{says}: start `srun --ntasks={devices} atst ... --devices {devices}` (`#SBATCH --ntasks-per-node`)."
    )


def hold(folder: Path) -> AbstractContextManager[None]:
    """Lock a folder that a training writes, in the first process; see `lock.held`.

    A job that SLURM has restarted, perhaps on another machine, waits until its own old lock is stale.
    """
    if not is_first_process():
        return nullcontext()
    return lock.held(folder, patient=os.environ.get("SLURM_RESTART_COUNT", "0") != "0")


def stopped(text: str) -> BaseException:
    """The exception for a process that a signal stopped; the first process says how to continue."""
    return KeyboardInterrupt(text) if is_first_process() else SystemExit(signals.exit_code())


def _advise() -> None:
    """Warn if this process will be killed without a signal, together with the shell of a batch script."""
    parent = os.getppid()
    if os.environ.get("SLURM_TASK_PID") == str(parent) and not _catches(parent, signal.SIGTERM):
        print(
            "warning: when SLURM stops this job the script's shell dies first and nothing is saved: "
            "write `exec atst ...` or `srun atst ...` (docs/slurm.md)",
            file=sys.stderr,
            flush=True,
        )


def _catches(process: int, number: signal.Signals) -> bool:
    """Whether a process handles a signal; true if the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return True


class Environment(LightningEnvironment):
    """Tells Lightning about ranks and nodes, which it would otherwise guess from other variables."""

    def __init__(self) -> None:
        super().__init__()
        self.together = started()

    @property
    def creates_processes_externally(self) -> bool:
        return self.together is not None or super().creates_processes_externally

    @property
    def main_address(self) -> str:
        if self.together is None or self.together.nodes == 1 or "MASTER_ADDR" in os.environ:
            return super().main_address
        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_JOB_NODELIST", ""))
        return SLURMEnvironment.resolve_root_node_address(nodes)

    @property
    def main_port(self) -> int:
        if self.together is None or self.together.by != "srun" or "MASTER_PORT" in os.environ:
            return super().main_port
        # The same in all processes of a job step, and different in other steps.
        job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        return 15000 + (job * 37 + step) % 15000

    def teardown(self) -> None:
        """Lightning's would delete WORLD_SIZE, which a later training in the same processes needs."""

    def local_rank(self) -> int:
        return super().local_rank() if self.together is None else self.together.local_rank

    def node_rank(self) -> int:
        return super().node_rank() if self.together is None else self.together.node

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return 1 if self.together is None else self.together.nodes
