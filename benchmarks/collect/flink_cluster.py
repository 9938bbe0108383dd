"""A Flink cluster of this machine: a job manager and a task manager a core, each with a Python of its own.

Flink's usual local cluster is one process, whose tasks share one interpreter lock: on two cores it did 15,000
events/s with two tasks and 21,000 with one, this cluster 38,000; Python beside Java, by pipes, below 2,000.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pyflink
from peer_worker import Run

TASK_MANAGERS = 2
#: Of each; Flink takes parts for the network and for itself, and the state lies in the rest.
TASK_MANAGER_MB = 3000
START_TIMEOUT_S = 120.0


@contextmanager
def cluster(run: Run) -> Iterator[dict[str, str]]:
    """Start a cluster; yield the settings by which a job reaches it, and end it."""
    home, temporary = Path(pyflink.__file__).parent, run.folder / "tmp"
    temporary.mkdir()
    job = _job_settings(run)
    conf = _write_conf(run, home, job | _cluster_settings(home, temporary))
    # The job's own JVM reads it too.
    os.environ |= {"FLINK_CONF_DIR": str(conf), "FLINK_LOG_DIR": str(run.folder), "TMPDIR": str(temporary)}
    with ExitStack() as stack:
        for number, script in enumerate(["jobmanager.sh", *["taskmanager.sh"] * TASK_MANAGERS]):
            command = ["bash", str(home / "bin" / script), "start-foreground"]
            console = stack.enter_context((run.folder / f"console-{number}.log").open("w"))
            process = subprocess.Popen(command, stdout=console, stderr=console)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        _await_slots(f"http://127.0.0.1:{job['rest.port']}/overview")
        yield job


def _job_settings(run: Run) -> dict[str, str]:
    return {
        "execution.target": "remote",
        "execution.attached": "true",
        "rest.address": "127.0.0.1",
        "rest.port": str(_free_port()),
        "parallelism.default": str(TASK_MANAGERS),
        "pipeline.object-reuse": "true",
        "python.execution-mode": "thread",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        # RocksDB did half as many events/s, for as many bytes.
        "state.backend.type": "hashmap",
        "execution.checkpointing.interval": "5 s",
        "execution.checkpointing.dir": (run.folder / "checkpoints").as_uri(),
        "execution.checkpointing.num-retained": "1",
        "restart-strategy.type": "none",
    }


def _cluster_settings(home: Path, temporary: Path) -> dict[str, str]:
    defaults = (home / "conf" / "config.yaml").read_text("utf-8").splitlines()
    opened = next(line for line in defaults if "--add-opens" in line).split(":", 1)[1].strip()
    return {
        "env.java.opts.all": f"{opened} -Djava.io.tmpdir={temporary}",
        # A fifth faster than G1: two cores have none left for a collector beside the program.
        "env.java.opts.taskmanager": "-XX:+UseParallelGC",
        "io.tmp.dirs": str(temporary),
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(_free_port()),
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": "1",
        "taskmanager.memory.flink.size": f"{TASK_MANAGER_MB}m",
        # For RocksDB and batch jobs only.
        "taskmanager.memory.managed.size": "16m",
        # A loaded machine is no dead one.
        "heartbeat.timeout": "180000",
    }


def _write_conf(run: Run, home: Path, settings: dict[str, str]) -> Path:
    conf = run.folder / "conf"
    shutil.copytree(home / "conf", conf)
    text = "".join(f"{name}: {value}\n" for name, value in settings.items())
    (conf / "config.yaml").write_text(text, "utf-8")
    return conf


def _await_slots(url: str) -> None:
    start_s = time.monotonic()
    while time.monotonic() - start_s < START_TIMEOUT_S:
        with suppress(OSError), urlopen(url, timeout=5) as answer:  # noqa: S310 - ours, on loopback
            if f'"slots-available":{TASK_MANAGERS}' in answer.read().decode():
                return
        time.sleep(0.2)
    raise SystemExit(f"Flink's task managers did not answer within {START_TIMEOUT_S:.0f} s")


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
