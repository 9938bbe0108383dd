"""The embedded broker: real Apache Kafka (KRaft) as a child process, its data kept under ``home``."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from uuid import uuid4

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from jobs.runtime import guard
from jobs.runtime.broker_files import BrokerFiles, format_command, kafka_command, server_properties
from jobs.runtime.broker_state import BrokerState
from jobs.runtime.errors import InfrastructureError
from jobs.runtime.settings import Settings

#: Kafka closes its segments on SIGTERM, in 3 s on an idle laptop; then it is killed.
STOP_TIMEOUT_S = 30.0
#: Between two lines that say that we still wait.
PROGRESS_S = 3.0


class BrokerError(InfrastructureError):
    """The embedded broker does not start, or none may be started."""


class EmbeddedBroker:
    """The one broker of a home folder, whoever started it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.files = BrokerFiles(settings.home / "broker")
        self.state = BrokerState(self.files)
        self._child: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """``host:port`` of the running broker, or of the last one; empty when there was none."""
        port = self.state.read().get("port")
        return f"127.0.0.1:{port}" if port else ""

    def status(self) -> dict[str, Any]:
        """Return whether it runs, its address, process id, space on disk and folder."""
        process = self.state.process()
        return {
            "running": process is not None,
            "address": self.address if process else "",
            "pid": process.pid if process else None,
            "stops_with_its_parent": bool(process and self.state.read().get("guarded")),
            "disk_bytes": self.files.disk_bytes(),
            "folder": str(self.files.folder),
        }

    def start(self, *, guarded: bool) -> bool:
        """Start it unless it runs, and wait until it answers.

        Parameters
        ----------
        guarded
            Whether it ends with this process, however this one ends; else it runs until `stop`.

        Returns
        -------
        bool
            Whether this call started it.

        Raises
        ------
        BrokerError
            It does not answer within ``broker.start_timeout_s``; the text has the end of its log.

        """
        self._refuse_start()
        self.files.folder.mkdir(parents=True, exist_ok=True)
        with (self.files.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if running := self.state.process():
                self._await_answer(running)
                return False
            try:
                self._launch(guarded=guarded)
            except BaseException:
                self.stop()
                raise
        return True

    def stop(self) -> bool:
        """Stop it, by force after half a minute; return whether it ran."""
        process, child = self.state.process(), self._child
        if process:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
            if psutil.wait_procs([process], timeout=STOP_TIMEOUT_S)[1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        if child:
            self._child = None
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
            child.wait(STOP_TIMEOUT_S + 10)
        self.state.write(pid=None)
        return process is not None

    def connected_settings(self) -> Settings:
        """Return the settings with this broker's address in them."""
        kafka = self.settings.kafka.model_copy(update={"bootstrap_servers": self.address})
        return self.settings.model_copy(update={"kafka": kafka})

    def _refuse_start(self) -> None:
        kafka = self.settings.kafka
        if kafka.bootstrap_servers:
            raise BrokerError(f"kafka.bootstrap_servers is {kafka.bootstrap_servers}: no broker is started")
        if kafka.security_protocol != "PLAINTEXT" or kafka.replication_factor != 1:
            raise BrokerError(
                "the embedded broker speaks PLAINTEXT and keeps one copy: reset kafka.security_protocol and "
                "kafka.replication_factor, or name your brokers in kafka.bootstrap_servers"
            )
        if any(sign in str(self.files.folder) for sign in ":,\n"):
            raise BrokerError(
                f"Kafka cannot keep data in {self.files.folder}: choose a home without ':' or ','"
            )

    def _launch(self, *, guarded: bool) -> None:
        """Start the JVM and wait for its answer; once more on new ports if someone took one meanwhile."""
        ports = self._ports()
        for last_try in (False, True):
            self._prepare(*ports)
            process = self._spawn(guarded=guarded, ports=ports)
            try:
                self._await_answer(process)
            except BrokerError as error:
                if last_try or "Address already in use" not in str(error):
                    raise
                self.stop()
                ports = _free_ports()
            else:
                return

    def _ports(self) -> tuple[int, int]:
        state = self.state.read()
        known = (state.get("port", 0), state.get("controller_port", 0))
        return known if all(port and _is_free(port) for port in known) else _free_ports()

    def _prepare(self, port: int, controller_port: int) -> None:
        files, settings = self.files, self.settings
        files.properties.write_text(server_properties(settings, files, port, controller_port), "ascii")
        if (files.data / "meta.properties").is_file():
            return
        _say("making its data folder")
        cluster_id = "T" + urlsafe_b64encode(uuid4().bytes).decode()[1:22]
        command = format_command(settings, files, cluster_id)
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if made.returncode != 0:
            raise BrokerError(f"Kafka cannot make its data folder {files.data}:\n{made.stdout}{made.stderr}")

    def _spawn(self, *, guarded: bool, ports: tuple[int, int]) -> psutil.Process:
        command = kafka_command(self.settings, self.files)
        pipe = subprocess.PIPE if guarded else subprocess.DEVNULL
        if guarded:
            command = [sys.executable, "-I", guard.__file__, str(STOP_TIMEOUT_S), *command]
        self.files.log.unlink(missing_ok=True)
        with self.files.console.open("w") as console:
            # A session of its own: Ctrl-C in the terminal reaches us, not Kafka.
            child = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=console, text=True, start_new_session=True
            )
        self._child = child
        pid = int(child.stdout.readline() or 0) if child.stdout else child.pid
        try:
            process = psutil.Process(pid)
            self.state.write(
                pid=pid,
                created_s=process.create_time(),
                guarded=guarded,
                port=ports[0],
                controller_port=ports[1],
            )
        except psutil.NoSuchProcess:
            raise BrokerError(f"Kafka did not start:\n{self.files.last_lines()}") from None
        return process

    def _await_answer(self, process: psutil.Process) -> None:
        start, said = time.monotonic(), 0.0
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        while True:
            waited = time.monotonic() - start
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise BrokerError(
                    f"Kafka ended while starting; the end of its log:\n{self.files.last_lines()}"
                )
            if _answers(admin, self.address):
                return
            if waited > self.settings.broker.start_timeout_s:
                raise BrokerError(
                    f"no answer from Kafka after {waited:.0f} s (broker.start_timeout_s); its log ends:\n"
                    + self.files.last_lines()
                )
            if waited - said >= PROGRESS_S:
                said = waited
                _say(f"waiting for Kafka at {self.address}, {waited:.0f} s")
            time.sleep(0.1)


@contextmanager
def connected(settings: Settings) -> Iterator[Settings]:
    """Yield the settings with a broker's address in them.

    The one of ``kafka.bootstrap_servers`` when set; else the home's broker if it runs; else one is
    started, and stopped when the block, or this process, ends.
    """
    if settings.kafka.bootstrap_servers:
        yield settings
        return
    broker = EmbeddedBroker(settings)
    started = broker.start(guarded=True)
    try:
        yield broker.connected_settings()
    finally:
        if started:
            broker.stop()


def _answers(admin: AdminClient, address: str) -> bool:
    host, port = address.split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            pass
        return bool(admin.list_topics(timeout=2).brokers)
    except (OSError, KafkaException):
        return False


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports() -> tuple[int, int]:
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _say(text: str) -> None:
    sys.stderr.write(f"broker: {text}\n")
    sys.stderr.flush()
