from pathlib import Path

import pytest
import yaml

from jobs.runtime import settings as settings_module
from jobs.runtime.settings import Settings, SettingsRefusedError, load_settings

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a YAML file and make it the one that is read."""

    def write(text):
        path = tmp_path / "own.yaml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv("TWEETOSCOPE_CONFIG", str(path))

    return write


def every_knob():
    for section, field in Settings.model_fields.items():
        for name, knob in getattr(field.annotation, "model_fields", {}).items():
            yield section, name, knob


BOUNDED = [
    pytest.param(section, name, knob, id=f"{section}.{name}")
    for section, name, knob in every_knob()
    if any(type(rule).__name__ == "Ge" for rule in knob.metadata)
]


def test_the_checked_in_file_holds_every_knob_at_its_default():
    written = yaml.safe_load((PROJECT / "conf" / "tweetoscope.yaml").read_text("utf-8"))
    defaults = {
        section: field.annotation().model_dump(mode="json")
        for section, field in Settings.model_fields.items()
        if section != "home"
    }
    assert written == defaults


def test_a_flag_beats_the_environment_which_beats_the_file(config, monkeypatch):
    config("kafka: {partitions: 5}")
    assert load_settings().kafka.partitions == 5
    monkeypatch.setenv("TWEETOSCOPE__KAFKA__PARTITIONS", "6")
    assert load_settings().kafka.partitions == 6
    assert load_settings(["--kafka.partitions", "7"]).kafka.partitions == 7


def test_one_knob_of_a_section_leaves_the_others_as_they_were(config, monkeypatch):
    config("kafka: {partitions: 5, topic_prefix: yaml.}")
    monkeypatch.setenv("TWEETOSCOPE__KAFKA__REPLICATION_FACTOR", "3")
    kafka = load_settings(["--kafka.sasl_username", "zoë"]).kafka
    assert (kafka.partitions, kafka.topic_prefix, kafka.replication_factor) == (5, "yaml.", 3)
    assert kafka.sasl_username == "zoë"


@pytest.mark.parametrize(("section", "name", "knob"), BOUNDED)
def test_a_value_out_of_range_is_refused_with_name_unit_and_range(config, section, name, knob):
    low, high = (
        next(getattr(rule, kind) for rule in knob.metadata if hasattr(rule, kind)) for kind in ("ge", "le")
    )
    config(f"{section}: {{{name}: {low - 1}}}")
    with pytest.raises(SettingsRefusedError) as refusal:
        load_settings()
    text = str(refusal.value)
    assert text.startswith(f"{section}.{name} ")
    assert f"in {knob.json_schema_extra['unit']}" in text or not knob.json_schema_extra["unit"]
    assert f"allowed: {low} to {high}" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kafka: {partition: 3}", "kafka.partition: no such setting"),
        ("broken: 1", "broken: no such setting"),
        ("kafka: {partitions: many}", "kafka.partitions"),
        ("cascades: {windows_s: [1200, 600]}", "cascades.windows_s"),
        ("cascades: {windows_s: []}", "cascades.windows_s"),
        ("cascades: {terminated_s: 60}", "terminated_s = 60 s"),
        ("kafka: {topic_prefix: 'a b'}", "kafka.topic_prefix"),
        ("spark: {driver_memory: lots}", "spark.driver_memory"),
        ("logs: {level: LOUD}", "logs.level"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_the_knob(config, text, said):
    config(text)
    with pytest.raises(SettingsRefusedError) as refusal:
        load_settings()
    assert said in str(refusal.value)


def test_an_unknown_section_key_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("TWEETOSCOPE__KAFKA__PARTITION", "3")
    with pytest.raises(SettingsRefusedError, match=r"kafka\.partition: no such setting"):
        load_settings()


def test_a_config_file_that_is_named_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("TWEETOSCOPE_CONFIG", str(tmp_path / "absent.yaml"))
    with pytest.raises(SettingsRefusedError, match=r"absent\.yaml"):
        load_settings()


def test_a_secret_is_neither_printed_nor_said_in_a_refusal(config, capsys):
    config("kafka: {sasl_password: hunter2}")
    assert settings_module.main([]) == 0
    assert "hunter2" not in capsys.readouterr().out
    assert "hunter2" not in repr(load_settings())
    config("kafka: {sasl_password: [hunter2]}")
    with pytest.raises(SettingsRefusedError) as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)
    assert "kafka.sasl_password" in str(refusal.value)


def test_what_the_command_prints_is_a_file_it_reads(config, capsys):
    assert settings_module.main(["--kafka.partitions", "9"]) == 0
    config(capsys.readouterr().out)
    assert load_settings() == load_settings(["--kafka.partitions", "9"])
