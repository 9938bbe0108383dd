"""A Flink cluster of this machine: a job manager and a task manager a core, each with its own Python."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pyflink
from peer_worker import Run

TASK_MANAGERS = 2
HEAP_MB = 3000
START_TIMEOUT_S = 90.0


@contextmanager
def cluster(run: Run) -> Iterator[dict[str, str]]:
    """Start a cluster; yield the settings by which a job reaches it."""
    settings = {
        "parallelism.default": str(TASK_MANAGERS),
        "pipeline.object-reuse": "true",
        "python.execution-mode": "thread",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "state.backend.type": os.environ.get("BENCH_BACKEND", "hashmap"),
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.interval": "5 s",
        "execution.checkpointing.dir": (run.folder / "checkpoints").as_uri(),
        "execution.checkpointing.num-retained": "1",
        "execution.attached": "true",
        "restart-strategy.type": "none",
        "heartbeat.timeout": "180000",
    }
    if os.environ.get("BENCH_FLINK") == "mini":
        yield settings | {"parallelism.default": os.environ.get("BENCH_P", "2")}
        return
    rpc, rest = _free_ports()
    conf, home = run.folder / "conf", Path(pyflink.__file__).parent
    conf.mkdir()
    options = next(
        line for line in (home / "conf" / "config.yaml").read_text().splitlines() if "--add-opens" in line
    )
    common = settings | {
        "env.java.opts.all": options.split(":", 1)[1].strip(),
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(rpc),
        "jobmanager.memory.process.size": "1024m",
        "rest.address": "127.0.0.1",
        "rest.port": str(rest),
        "taskmanager.host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": "1",
        "taskmanager.memory.flink.size": f"{HEAP_MB}m",
        "taskmanager.memory.managed.size": os.environ.get("BENCH_MANAGED", "16m"),
    }
    (conf / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in common.items()))
    for name in ("log4j-console.properties",):
        (conf / name).write_bytes((home / "conf" / name).read_bytes())
    environment = os.environ | {"FLINK_CONF_DIR": str(conf), "FLINK_LOG_DIR": str(run.folder)}
    with ExitStack() as stack:
        for number, script in enumerate(["jobmanager.sh", *["taskmanager.sh"] * TASK_MANAGERS]):
            command = ["bash", str(home / "bin" / script), "start-foreground"]
            log = stack.enter_context((run.folder / f"flink-{number}.log").open("w"))
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        _await_slots(f"http://127.0.0.1:{rest}/overview")
        yield settings | {"execution.target": "remote", "rest.address": "127.0.0.1", "rest.port": str(rest)}


def _await_slots(url: str) -> None:
    start_s = time.monotonic()
    while time.monotonic() - start_s < START_TIMEOUT_S:
        try:
            with urlopen(url, timeout=5) as answer:  # noqa: S310 - ours, on loopback
                if f'"slots-available":{TASK_MANAGERS}' in answer.read().decode():
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"Flink's task managers did not answer within {START_TIMEOUT_S:.0f} s")


def _free_ports() -> tuple[int, int]:
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
