"""The peer in Scala, compiled with the compiler that comes with PySpark."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.runtime.java import find_java

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SOURCE = Path(__file__).parent / "scala" / "Peer.scala"
#: Spark drops rows behind its watermark; in files all partitions of a micro-batch end at one event time.
FILES_DELAY_S = 30.0
COMPILE_TIMEOUT_S = 300


def ensure_jar(folder: Path) -> Path:
    """Return the jar of the peer, compiled first unless its source and PySpark are as they were."""
    digest = hashlib.sha256(SOURCE.read_bytes() + version("pyspark").encode()).hexdigest()[:12]
    jar = folder / f"peer-{digest}.jar"
    if jar.is_file():
        return jar
    folder.mkdir(parents=True, exist_ok=True)
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyspark is not installed: run `make setup`")
    class_path = os.pathsep.join(map(str, sorted((Path(spec.origin).parent / "jars").glob("*.jar"))))
    sys.stderr.write("compiling the Scala peer, about 15 s\n")
    unfinished = folder / f"peer-{os.getpid()}.jar"
    command = [str(find_java()), "-Xss4m", "-cp", class_path, "scala.tools.nsc.Main", "-nowarn"]
    command += ["-opt:l:method", "-classpath", class_path, "-d", str(unfinished), str(SOURCE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_TIMEOUT_S)
    if made.returncode != 0 or not unfinished.is_file():
        raise RuntimeError(f"the Scala peer does not compile:\n{made.stdout}{made.stderr}")
    unfinished.rename(jar)
    return jar


def scala_rows(tweets: DataFrame, delay_s: float, *, by_from_json: bool = False) -> DataFrame:
    """Follow cascades with the peer; promise ``topic``, ``key`` and ``value``.

    Its jar must be on the class path of the driver, as ``spark_side`` puts it.
    """
    from pyspark.sql import DataFrame as Rows

    session = tweets.sparkSession
    peer = session._jvm.tweetoscope.bench.Peer
    return Rows(peer.collected(tweets._jdf, int(delay_s * 1000), by_from_json), session)
