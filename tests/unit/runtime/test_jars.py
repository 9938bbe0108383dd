import hashlib
import stat

import pytest

from jobs.runtime import jars
from jobs.runtime.jars import IVY_FILE, KINDS, LOCK_FILE, JarsError, ensure_jars, locked_sums, wrong_jars
from jobs.runtime.java import JavaError, find_java

BYTES = {"connector/a-1.jar": b"a", "connector/b-1.jar": b"b", "broker/c-1.jar": b"c"}


@pytest.fixture
def lock(tmp_path, monkeypatch):
    path = tmp_path / "jars.sha256"
    path.write_text("".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in BYTES.items()))
    monkeypatch.setattr(jars, "LOCK_FILE", path)
    return path


@pytest.fixture
def fetches(monkeypatch):
    """Replace Ivy by one that brings BYTES, changed by what the test puts into ``instead``."""
    fetches = []

    def fetch(folder):
        fetches.append(folder)
        incoming = folder / ".incoming"
        write(incoming, BYTES)
        return incoming

    monkeypatch.setattr(jars, "_fetch", fetch)
    return fetches


@pytest.fixture
def java_that_says(tmp_path, monkeypatch):
    def install(script):
        path = tmp_path / "jdk" / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    return install


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)


def test_missing_jars_are_fetched_once_for_both_kinds(tmp_path, lock, fetches):
    assert [path.name for path in ensure_jars(tmp_path, "connector")] == ["a-1.jar", "b-1.jar"]
    assert [path.name for path in ensure_jars(tmp_path, "broker")] == ["c-1.jar"]
    assert len(fetches) == 1
    assert not (tmp_path / "jars" / ".incoming").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("connector/a-1.jar", b"changed"), ("connector/stray.jar", b""), ("connector/b-1.jar", None)],
)
def test_a_changed_stray_or_lost_jar_is_put_right(tmp_path, lock, fetches, name, content):
    ensure_jars(tmp_path, "connector")
    path = tmp_path / "jars" / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    assert wrong_jars(tmp_path / "jars", locked_sums(lock), "connector") == [name]
    ensure_jars(tmp_path, "connector")
    assert wrong_jars(tmp_path / "jars", locked_sums(lock), "connector") == []
    assert len(fetches) == 2


def test_a_fetched_jar_that_differs_from_the_lock_is_not_installed(tmp_path, lock, fetches, monkeypatch):
    monkeypatch.setitem(BYTES, "broker/c-1.jar", b"not what was locked")
    with pytest.raises(JarsError, match=r"broker/c-1\.jar"):
        ensure_jars(tmp_path, "connector")
    assert not (tmp_path / "jars" / "connector").exists()


def test_when_no_repository_answers_the_error_names_the_variable_to_set(tmp_path, java_that_says):
    java_that_says(
        '[ "$1" = -version ] && echo \'openjdk version "21.0.1"\' >&2 && exit\n'
        "echo 'Server access error: Connection refused'; exit 1\n"
    )
    with pytest.raises(JarsError, match=r"Connection refused.*IVY_SETTINGS"):
        ensure_jars(tmp_path, "connector")


def test_a_mirror_file_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("IVY_SETTINGS", str(tmp_path / "absent.xml"))
    with pytest.raises(JarsError, match=r"absent\.xml"):
        ensure_jars(tmp_path, "connector")


def test_the_lock_names_jars_of_both_kinds_by_sha256():
    sums = locked_sums(LOCK_FILE)
    assert {name.partition("/")[0] for name in sums} == set(KINDS)
    assert all(len(digest) == 64 for digest in sums.values())
    for wanted in ("connector/spark-sql-kafka-0-10_2.13-4.2.0.jar", "broker/kafka_2.13-4.2.2.jar"):
        assert wanted in sums


def test_the_connector_is_of_the_installed_pyspark():
    from importlib.metadata import version

    assert f'name="spark-sql-kafka-0-10_2.13" rev="{version("pyspark")}"' in IVY_FILE.read_text("utf-8")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'java version \"1.8.0_402\"' >&2", "is Java 8: install Java 17"),
        ("echo 'openjdk version \"11.0.2\"' >&2", "is Java 11: install Java 17"),
        ("echo what", "of no known version: install Java 17"),
    ],
)
def test_a_java_that_will_not_do_is_refused_with_what_to_install(java_that_says, script, said):
    java_that_says(script)
    with pytest.raises(JavaError, match=said):
        find_java()


def test_without_java_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaError, match=r"no Java found: install Java 17"):
        find_java()
