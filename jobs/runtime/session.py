"""The Spark session of a job, and how a job's queries start, report and stop."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pyspark.sql import SparkSession

from jobs.runtime.jars import CONF, connector_jars
from jobs.runtime.java import find_java
from jobs.runtime.settings import Settings

#: Used when neither spark-submit nor the settings name a master.
LAPTOP_MASTER = "local[2]"
#: Versions of state and of offsets kept in a checkpoint: bounds its size.
BATCHES_KEPT = 10
#: What Spark's JVM writes of itself when we start it.
LOG_FILE = CONF / "spark-log4j2.properties"
#: On a local disk the default manager starts processes for each file: 0.3 s of every micro-batch.
_RENAMING = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
#: Hadoop's own starts a `chmod` process for each file that it makes.
_LOCAL_FILES = "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem"
_ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


def spark_conf(settings: Settings) -> dict[str, str]:
    """Return what every session of ours needs, whoever starts it."""
    return {
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(settings.spark.arrow_rows),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.stateStore.providerClass": _ROCKSDB,
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        # One store for a join's four tables instead of four: a fourth of the commits.
        "spark.sql.streaming.join.stateFormatVersion": "3",
        "spark.sql.streaming.checkpointFileManagerClass": _RENAMING,
        "spark.sql.streaming.minBatchesToRetain": str(BATCHES_KEPT),
        # A batch without data would only cost its 0.5 s: clocks and joins move with the next data.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        # Five queries generate over a hundred classes. Spark keeps a hundred: it compiled them in turn, batch
        # by batch, and Java never came to an end with them.
        "spark.sql.codegen.cache.maxEntries": "500",
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.metrics.namespace": "tweetoscope",
        # The login line of SASL holds the password.
        "spark.sql.redaction.options.regex": "(?i)url|jaas|password",
        "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|jaas",
        "spark.python.daemon.module": "jobs.runtime.worker_daemon",
        # The oldest job first. With a fair pool a query the short batches starve the long ones: on two cores
        # the learner's first fit took 59 s instead of 10 to 20.
        "spark.scheduler.mode": "FIFO",
        "spark.ui.enabled": "true" if settings.spark.ui_port else "false",
        "spark.ui.port": str(settings.spark.ui_port or 4040),
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.ui.retainedExecutions": "50",
        "spark.ui.retainedJobs": "200",
        "spark.ui.retainedStages": "200",
    }


@contextmanager
def spark_session(settings: Settings, name: str) -> Iterator[SparkSession]:
    """Open a session and stop it at the end.

    Under spark-submit the master, the memory and the jars are those of the command; alone, a local session
    with the connector's jars is started.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # One thread a task: Spark runs one task a core already.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    builder = SparkSession.Builder().appName(f"tweetoscope-{name}")
    for key, value in spark_conf(settings).items():
        builder = builder.config(key, value)
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        builder = _alone(builder, settings)
    elif settings.spark.master:
        builder = builder.master(settings.spark.master)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def warm_workers(spark: SparkSession) -> None:
    """Start the Python workers now, while there is something else to wait for."""
    spark.range(2, numPartitions=2).mapInArrow(lambda batches: batches, "id long").collect()


def _own_folder(root: Path) -> Path:
    """Return a folder for the temporary files of this process; those of processes that ended are removed."""
    root.mkdir(parents=True, exist_ok=True)
    for other in root.iterdir():
        if other.name.isdigit() and not psutil.pid_exists(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    folder = root / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


def _alone(builder: SparkSession.Builder, settings: Settings) -> SparkSession.Builder:
    os.environ.setdefault("JAVA_HOME", str(Path(find_java()).parents[1]))
    local = _own_folder(settings.home / "spark")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    master, jars = settings.spark.master or LAPTOP_MASTER, [*map(str, connector_jars(settings))]
    if master.startswith("local"):
        builder = builder.config("spark.hadoop.fs.file.impl", _LOCAL_FILES)
        # Files are opened before `spark.jars` is read.
        builder = builder.config("spark.driver.extraClassPath", os.pathsep.join(jars))
    return (
        builder.master(master)
        .config("spark.driver.memory", settings.spark.driver_memory)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.local.dir", str(local))
        .config("spark.sql.warehouse.dir", str(local / "warehouse"))
        .config("spark.jars", ",".join(jars))
        .config(
            "spark.driver.extraJavaOptions",
            # Java's own warnings go to stdout unless told otherwise, where a job's JSON is.
            "-Xlog:disable -Xlog:all=error:stderr "
            f"{settings.spark.java_options} -Dlog4j2.configurationFile={LOG_FILE} -Djava.io.tmpdir={local}",
        )
    )
