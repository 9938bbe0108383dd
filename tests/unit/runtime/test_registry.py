import json
import logging
import os
import shutil
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError

from jobs.runtime import registry as registry_module
from jobs.runtime.manifest import Manifest
from jobs.runtime.registry import MANIFEST_FILE, MODEL_FILE, Registry
from tests.unit.forest.builders import some_samples
from udfs.forest.errors import ModelError
from udfs.forest.features import FEATURES
from udfs.forest.train import TreeOptions, train
from udfs.forest.window_model import WindowModel, predict

OPTIONS = TreeOptions(n_trees=5)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models", keep=3)


@cache
def model_of(count=40, seed=1, window_s=600):
    return train(some_samples(count, seed), window_s, OPTIONS, seed)


def files_of(registry, manifest):
    return registry.folder / f"window-{manifest.window_s}s" / manifest.version


def rewrite(registry, manifest, **changes):
    """Change fields of a stored manifest, whether or not that makes sense."""
    path = files_of(registry, manifest) / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_published_is_loaded(registry):
    scores = {"mean_are_model": 0.25}
    manifest = registry.publish(600, model_of(), options=OPTIONS, scores=scores, created_at_s=1e9)
    assert manifest.version.startswith("1-")
    assert manifest.features == FEATURES
    assert (manifest.parent, manifest.n_samples, manifest.scores) == ("0", 40, scores)
    assert manifest.options == OPTIONS
    assert manifest.created_at_s == 1e9
    assert {"numpy", "scikit-learn"} <= manifest.libraries.keys()
    assert registry.manifest(600, manifest.version) == manifest == registry.newest(600)
    asked = some_samples(20, 2)
    loaded = registry.load(600, manifest.version)
    one, other = (predict(model, asked.X, asked.n_obs) for model in (loaded, model_of()))
    np.testing.assert_array_equal(one.n_tot, other.n_tot)


def test_a_manifest_survives_json():
    manifest = a_manifest()
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def a_manifest(**changes):
    fields = {
        "format": 1,
        "window_s": 600,
        "version": "7-" + "ab" * 4,
        "parent": "6-01234567",
        "created_at_s": 1.5,
        "features": FEATURES,
        "n_samples": 3,
        "options": TreeOptions(),
        "scores": {"mean_are_model": 0.5},
        "libraries": {"numpy": "2.0"},
        "sha256": "ab" * 32,
        "size_bytes": 9,
    }
    return Manifest(**{**fields, **changes})


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "../" + "ab" * 4},
        {"version": "7-abababab/../x"},
        {"version": "7-abababab\n"},
        {"version": "07-abababab"},
        {"version": "7-ABABABAB"},
        {"version": "7-01234567"},
        {"version": ""},
        {"parent": "../6-01234567"},
        {"window_s": 0},
        {"window_s": "600"},
        {"n_samples": -1},
        {"created_at_s": float("nan")},
        {"scores": {"mean_are_model": float("inf")}},
        {"sha256": "ab" * 31},
        {"size_bytes": 0},
        {"features": ()},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        a_manifest(**wrong)


@pytest.mark.parametrize("options", [{"n_trees": 0}, {"n_trees": "100"}, {"surprise": 1}, [1, 2], "x"])
def test_options_that_cannot_be_are_refused(options):
    fields = json.loads(a_manifest().model_dump_json())
    with pytest.raises(ValidationError):
        Manifest.model_validate_json(json.dumps({**fields, "options": options}))


def test_versions_count_on_and_name_their_parent(registry):
    first, second = (registry.publish(600, model_of(seed=seed)) for seed in (1, 2))
    assert second.version.startswith("2-")
    assert second.parent == first.version
    assert registry.versions(600) == [first.version, second.version]
    assert registry.newest(600) == second


def test_windows_are_apart(registry):
    registry.publish(600, model_of())
    assert registry.newest(1200) is None
    assert registry.versions(1200) == []
    with pytest.raises(ValueError, match="1200"):
        registry.publish(1200, model_of())


def test_only_the_newest_versions_are_kept(registry):
    published = [registry.publish(600, model_of(seed=seed)).version for seed in range(1, 6)]
    assert registry.versions(600) == published[-3:]
    assert sorted(os.listdir(registry.folder / "window-600s")) == sorted(published[-3:])
    with pytest.raises(ModelError):
        registry.manifest(600, published[0])


def test_versions_are_ordered_as_numbers(tmp_path):
    registry = Registry(tmp_path)
    for name in ("9-00000000", "10-00000000", "0", "notes", ".unfinished-x", "11"):
        (tmp_path / "window-600s" / name).mkdir(parents=True)
    assert registry.versions(600) == ["9-00000000", "10-00000000"]


def test_version_0_is_the_cold_model(registry):
    assert registry.load(600, "0") == WindowModel.cold(600)
    with pytest.raises(ModelError):
        registry.manifest(600, "0")


def test_a_model_without_trees_can_be_published(registry):
    manifest = registry.publish(600, model_of(5))
    assert registry.load(600, manifest.version) == model_of(5)


@pytest.mark.parametrize(
    "version", ["../../etc", "1-abc", "/", "", "1-00000000\n", "1-00000000/..", "1-00000000"]
)
def test_a_version_that_is_none_is_refused(registry, version):
    with pytest.raises(ModelError):
        registry.load(600, version)


def flip(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_a_damaged_file_is_refused_and_passed_over(registry, damage, caplog):
    first, second = (registry.publish(600, model_of(seed=seed)) for seed in (1, 2))
    path = files_of(registry, second) / MODEL_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="sha256"):
        registry.load(600, second.version)
    with caplog.at_level(logging.WARNING):
        assert registry.newest(600) == first
        assert registry.newest(600) == first
    assert sum(second.version in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format 2"),
        ({"features": ["log_n_obs"]}, "other features"),
        ({"n_samples": 41}, "samples differ"),
        ({"window_s": 1200}, "1200 s"),
        ({"version": "../x"}, "damaged"),
        ({"surprise": 1}, "damaged"),
        ({"size_bytes": 1}, "sha256"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(registry, changes, problem):
    manifest = registry.publish(600, model_of())
    rewrite(registry, manifest, **changes)
    with pytest.raises(ModelError, match=problem):
        registry.load(600, manifest.version)


def test_a_damaged_version_is_never_counted_again(registry):
    first = registry.publish(600, model_of(seed=1))
    (files_of(registry, first) / MANIFEST_FILE).unlink()
    second = registry.publish(600, model_of(seed=2))
    assert second.version.startswith("2-")
    assert second.parent == "0"


def test_a_model_is_read_once(registry, monkeypatch):
    manifest = registry.publish(600, model_of())
    loaded = registry.load(600, manifest.version)
    monkeypatch.setattr(registry_module, "_read", lambda *_: pytest.fail("read again"))
    assert Registry(registry.folder).load(600, manifest.version) is loaded


class CrashError(Exception):
    pass


@pytest.mark.parametrize(("module", "step"), [(os, "rename"), (os, "fsync"), (registry_module, "_write")])
@pytest.mark.parametrize("after", range(4))
def test_a_crash_leaves_the_old_version_or_the_new(tmp_path, monkeypatch, module, step, after):
    """Publishing a second version, with the first to be removed, dies before one step of one kind."""
    registry = Registry(tmp_path, keep=1)
    first = registry.publish(600, model_of(seed=1))
    real, calls = getattr(module, step), []

    def dying(*args):
        if len(calls) == after:
            raise CrashError
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(module, step, dying)
    with suppress(CrashError):
        registry.publish(600, model_of(seed=2))
    monkeypatch.undo()
    newest = Registry(tmp_path).newest(600)
    assert newest is not None
    registry_module._load.cache_clear()
    sound = [registry.load(600, version) for version in registry.versions(600)]
    assert len(sound) in (1, 2)
    assert newest == first or newest.parent == first.version
    # What was left behind is removed once it is old, and the next version is whole.
    for folder in (tmp_path / "window-600s").glob(".*"):
        os.utime(folder, (0, 0))
    third = registry.publish(600, model_of(seed=3))
    assert os.listdir(tmp_path / "window-600s") == [third.version]


def test_a_registry_that_vanished_is_an_empty_one(registry):
    registry.publish(600, model_of())
    shutil.rmtree(registry.folder)
    assert registry.newest(600) is None


def test_at_least_one_version_is_kept(tmp_path):
    with pytest.raises(ValueError, match="keep"):
        Registry(tmp_path, keep=0)


def test_the_same_bytes_again_make_no_new_version(tmp_path):
    registry = Registry(tmp_path)
    first = registry.publish(600, WindowModel.cold(600))
    assert registry.publish(600, WindowModel.cold(600)) == first
    assert registry.versions(600) == [first.version]
