"""PyFlink in a virtual environment of its own; see `flink_worker`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from measure import Written
from peer import HOME, MissingError, Peer, install, run_main, start_worker, versions_in
from peer_worker import Run

from jobs.runtime.errors import InfrastructureError
from jobs.runtime.java import find_java

PACKAGES = ("apache-flink==2.3.0", "msgspec==0.22.0")
#: The newest connector there is; it is made for Flink 2.2.
CONNECTOR = ("flink-sql-connector-kafka", "5.0.0-2.2")
CONNECTOR_SHA256 = "5605c691d11a501382c383fecba37a7a552467da5ab7ba904ef5d6f3d62c5616"
FETCH_TIMEOUT_S = 600.0
_IVY = """<ivy-module version="2.0">
  <info organisation="tweetoscope" module="flink"/>
  <configurations><conf name="connector"/></configurations>
  <dependencies>
    <dependency org="org.apache.flink" name="{0}" rev="{1}" conf="connector->master" transitive="false"/>
  </dependencies>
</ivy-module>
"""


class FlinkPeer(Peer):
    """A job manager and two task managers, Python inside each, checkpoints every 5 s."""

    system = "flink"
    note = (
        "a job manager and two task managers of one slot, Python in thread mode, state on the heap, "
        "a checkpoint every 5 s, whose files are counted; outputs are dropped as JSON"
    )

    def versions(self) -> dict[str, str]:
        """Install it if need be; return what it runs on."""
        venv = HOME / "flink-venv"
        self._python = install(venv, PACKAGES)
        [self._packages] = venv.glob("lib/python3.*/site-packages")
        library = self._packages / "pyflink" / "lib"
        try:
            java = find_java()
        except InfrastructureError as error:
            raise MissingError(str(error)) from None
        _fetch_connector(java, library)
        # Python in a task manager needs the classes that a client would only bring later.
        for jar in (self._packages / "pyflink" / "opt").glob("flink-python-*.jar"):
            if not (library / jar.name).is_file():
                shutil.copyfile(jar, library / jar.name)
        told = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=True).stderr
        known = versions_in(self._python, ("apache-flink", "msgspec"))
        found = re.search(r'version "([^"]+)"', told)
        return known | {CONNECTOR[0]: CONNECTOR[1], "java": found.group(1) if found else ""}

    def start(self, run: Run) -> list[subprocess.Popen[bytes]]:
        """Start the cluster and the job."""
        path = os.pathsep.join([str(Path(__file__).resolve().parent), str(self._packages)])
        return [start_worker(self._python, "flink_worker.py", run, PYTHONPATH=path)]

    def may_be_killed(self, run: Run) -> bool:
        """Tell that its end is of no interest: after its last event a timer fires for each open cascade."""
        return not run.keep_outputs

    def checkpoint_bytes(self, run: Run, seen: Written, events: int) -> float | None:
        """Return the bytes of all checkpoints per event."""
        return round(sum(seen.bytes()) / events, 1) if events else None


def _fetch_connector(java: Path, library: Path) -> None:
    """Let Ivy, which pyspark brings, fetch the Kafka connector; IVY_SETTINGS may name a mirror's file."""
    jar = library / f"{CONNECTOR[0]}-{CONNECTOR[1]}.jar"
    if jar.is_file():
        return
    spec = find_spec("pyspark")
    ivy = sorted((Path(spec.origin).parent / "jars").glob("ivy-*.jar")) if spec and spec.origin else []
    if not ivy:
        raise MissingError("pyspark, whose ivy jar fetches the connector, is not installed")
    folder = HOME / "ivy"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ivy.xml").write_text(_IVY.format(*CONNECTOR), "utf-8")
    mirror = os.environ.get("IVY_SETTINGS")
    command = [str(java), f"-Divy.default.ivy.user.dir={folder}", "-cp", str(ivy[-1]), "org.apache.ivy.Main"]
    command += [
        *(["-settings", mirror] if mirror else []),
        "-ivy",
        str(folder / "ivy.xml"),
        "-cache",
        str(folder),
    ]
    command += ["-confs", "connector", "-types", "jar", "-retrieve", f"{folder}/[artifact]-[revision].[ext]"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise MissingError(f"the Kafka connector was not fetched within {FETCH_TIMEOUT_S:.0f} s") from None
    fetched = folder / jar.name
    if done.returncode != 0 or not fetched.is_file():
        raise MissingError(f"cannot fetch the Kafka connector {CONNECTOR[1]} from Maven Central")
    if hashlib.sha256(fetched.read_bytes()).hexdigest() != CONNECTOR_SHA256:
        raise MissingError(f"{fetched.name} is not the jar it was: its sha256 differs")
    shutil.copyfile(fetched, jar)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(run_main(FlinkPeer(), sys.argv[1:]))
