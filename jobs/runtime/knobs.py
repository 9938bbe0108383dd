"""Every knob of every job, once: typed, with its unit, range and default, in groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

#: Windows one deployment may watch: each costs a state bit, a model and a metric label.
MAX_WINDOWS = 8


def knob(
    default: object,
    meaning: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    *,
    pattern: str | None = None,
) -> Any:
    """Declare one knob: its default, meaning, unit, inclusive range or pattern."""
    extra: dict[str, Any] = {"unit": unit}
    return Field(default, description=meaning, ge=low, le=high, pattern=pattern, json_schema_extra=extra)


class Section(BaseModel):
    """A group of knobs; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Kafka(Section):
    """The broker that carries every topic."""

    bootstrap_servers: str = knob("", "brokers, host:port,…; empty starts the embedded one")
    topic_prefix: str = knob("", "put before every topic's name", pattern=r"^[A-Za-z0-9._-]{0,80}$")
    partitions: int = knob(4, "partitions of each topic", "partitions", 1, 1000)
    replication_factor: int = knob(1, "copies of each partition", "copies", 1, 10)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = knob("", "user name for SASL")
    sasl_password: SecretStr = knob(SecretStr(""), "password for SASL")
    ssl_ca_file: str = knob("", "PEM file of the authority that signed the brokers' certificates")


class Broker(Section):
    """The embedded Kafka broker of a laptop or a test."""

    heap_mb: int = knob(512, "memory of its JVM", "MB", 256, 65536)
    start_timeout_s: float = knob(60, "time it may take to answer", "s", 5, 600)


def _check_windows(windows_s: list[int]) -> list[int]:
    if not windows_s or len(windows_s) > MAX_WINDOWS:
        raise ValueError(f"between 1 and {MAX_WINDOWS} windows")
    if windows_s != sorted(set(windows_s)) or windows_s[0] < 1:
        raise ValueError("whole seconds, rising, each once")
    return windows_s


Windows: TypeAlias = Annotated[list[int], AfterValidator(_check_windows)]


class Cascades(Section):
    """When a cascade is seen, when it ends, and what of it is kept."""

    windows_s: Windows = knob([600, 1200], "observation windows", "s")
    terminated_s: int = knob(1800, "silence after which a cascade has ended", "s", 1, 30 * 86400)
    min_cascade_size: int = knob(10, "events a window must hold to be predicted", "events", 1, 100_000)
    allowed_delay_s: float = knob(10, "disorder in event time that changes nothing", "s", 0, 86400)
    max_events_per_window: int = knob(100_000, "history kept of one cascade", "events", 10, 10_000_000)
    max_id_bytes: int = knob(512, "longest cascade id", "bytes", 1, 512)
    max_text_bytes: int = knob(1024, "longest text kept of a tweet; the rest is cut", "bytes", 0, 65536)
    max_value_bytes: int = knob(65536, "longest tweet accepted", "bytes", 256, 1_048_576)
    event_time: Literal["simulated", "wall_clock"] = "simulated"
    idle_s: float = knob(30, "silence after which a partition follows the wall clock", "s", 1, 86400)

    @model_validator(mode="after")
    def _windows_end_first(self) -> Cascades:
        if self.windows_s[-1] > self.terminated_s:
            raise ValueError(
                f"windows_s: the last window, {self.windows_s[-1]} s, must close before a cascade "
                f"can end (terminated_s = {self.terminated_s} s)"
            )
        return self


class Spark(Section):
    """The Spark session and the pace of its queries."""

    master: str = knob("", "Spark master; empty leaves it to spark-submit, or local[2]")
    driver_memory: str = knob("1g", "heap of the driver, such as 1g", pattern=r"^[0-9]+[mg]$")
    java_options: str = knob("-XX:+UseSerialGC", "options of the driver's JVM, when a job starts it itself")
    shuffle_partitions: int = knob(2, "tasks of a stateful stage; fixed for a checkpoint", "tasks", 1, 10_000)
    buckets_per_partition: int = knob(
        1, "state buckets of a Kafka partition; fixed for a checkpoint", "", 1, 4096
    )
    arrow_rows: int = knob(65_536, "rows of an Arrow batch", "rows", 1, 10_000_000)
    trigger_s: float = knob(0.5, "least time between micro-batches", "s", 0, 3600)
    learning_trigger_s: float = knob(
        5, "the same for score and train, which no prediction waits for", "s", 0, 3600
    )
    chained: bool = knob(False, "collect also estimates and predicts, with no topic between")
    max_events_per_trigger: int = knob(400_000, "rows a micro-batch reads", "rows", 1, 100_000_000)
    max_join_wait_s: int = knob(
        7 * 86400, "time a prediction waits for its cascade's size", "s", 60, 365 * 86400
    )
    watermark_delay_s: int = knob(86400, "disorder of record times that a join forgives", "s", 1, 30 * 86400)
    ui_port: int = knob(4040, "port of the Spark UI; 0 turns it off", "", 0, 65535)


class Hawkes(Section):
    """The fit of the process."""

    mark_scale: float = knob(5.3, "mean of log(1 + followers) + 0.1 in the data", "", 0.01, 100)


class Learner(Section):
    """When a window's model is refitted, and on what."""

    mini_batch: int = knob(16, "new samples that start a refit", "samples", 1, 100_000)
    batch: int = knob(256, "new samples that start a tuning", "samples", 1, 1_000_000)
    busy_share: float = knob(0.25, "most of the time that fitting takes while samples wait", "", 0.01, 1)
    max_samples: int = knob(3000, "newest samples a model is trained on", "samples", 32, 100_000)
    keep_versions: int = knob(20, "published models kept of a window", "models", 2, 1000)
    seed: int = knob(1, "seed of the trees", "", 0, 2**31 - 1)


class Generator(Section):
    """How cascades are made or replayed."""

    acceleration: float = knob(1000, "simulated seconds in a second; 0 is as fast as it goes", "", 0, 1e9)
    sources: int = knob(5, "sources that emit cascades", "sources", 1, 1000)
    concurrent: int = knob(5, "cascades one source emits at a time", "cascades", 1, 1_000_000)
    start_range_s: float = knob(600, "a cascade starts within this time of its turn", "s", 0, 30 * 86400)
    cascades: int = knob(500, "cascades to simulate", "cascades", 1, 10_000_000)
    horizon_s: float = knob(7 * 86400, "age at which a simulated cascade is cut", "s", 60, 365 * 86400)
    seed: int = knob(1, "seed of cascades and schedule", "", 0, 2**31 - 1)
    max_events_per_s: float = knob(0, "events sent in a second; 0 is no limit", "events/s", 0, 1e9)


class Demo(Section):
    """What ``tweetoscope demo`` replays, and how fast."""

    duration_s: float = knob(100, "time the replay takes; it sets the acceleration", "s", 1, 86400)
    partitions: int = knob(2, "partitions of each topic: a task each, so one per core", "partitions", 1, 1000)
    cascades: int = knob(1500, "cascades to simulate", "cascades", 1, 1_000_000)
    concurrent: int = knob(100, "simulated cascades one source emits at a time", "cascades", 1, 1_000_000)
    start_range_s: float = knob(
        20_000, "a simulated cascade starts within this of its turn", "s", 0, 30 * 86400
    )
    horizon_s: float = knob(6 * 3600, "age at which a simulated cascade is cut", "s", 60, 365 * 86400)


class Alerts(Section):
    """Which predictions people are shown."""

    threshold: float = knob(200, "predicted size that makes a post popular", "events", 1, 1e9)
    hottest: int = knob(20, "posts shown, and labelled in metrics", "posts", 1, 1000)
    expire_s: float = knob(900, "time a post stays shown", "s", 1, 30 * 86400)


class Serving(Section):
    """Where the monitor and the dashboard serve their metrics."""

    host: str = knob("127.0.0.1", "address to listen on")
    monitor_port: int = knob(8000, "port of the monitor's metrics; 0 takes a free one", "", 0, 65535)
    dashboard_port: int = knob(8001, "port of the dashboard's metrics; 0 takes a free one", "", 0, 65535)


class Logs(Section):
    """What services write of themselves."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
    to_kafka: bool = knob(False, "also send records to the logs topic")
