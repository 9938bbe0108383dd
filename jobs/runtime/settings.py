"""The settings of a job: the knobs of ``jobs.runtime.knobs``, merged from where people set them.

Sources, the later wins: the defaults here, ``conf/tweetoscope.yaml``, the environment
(``TWEETOSCOPE__SECTION__KEY``), the command line (``--section.key value``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from jobs.runtime.knobs import (
    Alerts,
    Broker,
    Cascades,
    Demo,
    Generator,
    Hawkes,
    Kafka,
    Learner,
    Logs,
    Serving,
    Spark,
)

#: The file read when ``TWEETOSCOPE_CONFIG`` names no other.
CONFIG_FILE = Path("conf/tweetoscope.yaml")


class Settings(BaseSettings):
    """The merged tree of every knob."""

    model_config = SettingsConfigDict(
        env_prefix="TWEETOSCOPE__",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    home: Path = Field(
        Path(".tweetoscope"), description="folder of jars, broker data, checkpoints and models"
    )
    kafka: Kafka = Kafka()
    broker: Broker = Broker()
    cascades: Cascades = Cascades()
    spark: Spark = Spark()
    hawkes: Hawkes = Hawkes()
    learner: Learner = Learner()
    generator: Generator = Generator()
    demo: Demo = Demo()
    alerts: Alerts = Alerts()
    serving: Serving = Serving()
    logs: Logs = Logs()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what a caller passes, then the environment, then the YAML file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=config_file())


class SettingsRefusedError(Exception):
    """A value that no job may start with; its text names the knob, the unit and the range."""


def config_file() -> Path:
    """Return the YAML file to read, which need not exist."""
    return Path(os.environ.get("TWEETOSCOPE_CONFIG", CONFIG_FILE))


def load_settings(argv: Sequence[str] | None = None, prog: str = "tweetoscope") -> Settings:
    """Merge all sources.

    Parameters
    ----------
    argv
        Flags ``--section.key value``; none by default.
    prog
        Name shown in the usage line.

    Raises
    ------
    SettingsRefusedError
        A value is unknown, of the wrong type or out of its range.

    """
    named = os.environ.get("TWEETOSCOPE_CONFIG")
    if named and not Path(named).is_file():
        raise SettingsRefusedError(f"TWEETOSCOPE_CONFIG names {named}, which is no file")
    flags: CliSettingsSource[Any] = CliSettingsSource(
        Settings, cli_parse_args=list(argv or []), cli_prog_name=prog
    )
    try:
        return Settings(_cli_settings_source=flags)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsRefusedError("\n".join(map(_explain, error.errors()))) from None
    except SettingsError as error:
        raise SettingsRefusedError(str(error)) from None


def _explain(error: ErrorDetails) -> str:
    path = [str(part) for part in error["loc"]]
    name, known = ".".join(path), _field(path)
    if known is None or error["type"] == "extra_forbidden":
        problem = "no such setting" if error["type"] == "extra_forbidden" else error["msg"]
        return f"{name or 'settings'}: {problem.removeprefix('Value error, ')}"
    bounds = {type(rule).__name__: rule for rule in known.metadata}
    low, high = (getattr(bounds.get(kind), kind.lower(), None) for kind in ("Ge", "Le"))
    unit = (
        (known.json_schema_extra or {}).get("unit", "") if isinstance(known.json_schema_extra, dict) else ""
    )
    span = f"; allowed: {low} to {high}" if low is not None and high is not None else ""
    meaning = f" ({known.description}{', in ' + str(unit) if unit else ''})" if known.description else ""
    given = "" if isinstance(known.default, SecretStr) else f", got {error['input']!r}"
    return f"{name}{meaning}: {error['msg'].removeprefix('Value error, ')}{span}{given}"


def _field(path: Sequence[str]) -> Any:
    model: Any = Settings
    field = None
    for part in path:
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return field
        field = fields[part]
        model = field.annotation
    return None if hasattr(model, "model_fields") else field


def main(argv: Sequence[str] | None = None) -> int:
    """Print the merged tree, secrets hidden."""
    import yaml

    settings = load_settings(argv, "tweetoscope settings")
    sys.stdout.write(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return 0
