"""Finding a trained model, and asking it what it is."""

import json
import zipfile
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho.model_archive import find_archive, read_archive_config

CONFIG = {"model": {"N": 64}, "training": {"batch_size": 4}, "version": "1.0"}


def write(path: Path, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", content)
    return path


def test_the_archive_is_found_by_its_folder_and_by_itself(tmp_path: Path):
    archive = write(tmp_path / "wts.h5.zip", json.dumps(CONFIG))
    assert find_archive(tmp_path) == find_archive(str(archive)) == archive
    assert read_archive_config(archive) == CONFIG


def test_an_unpacked_archive_is_found_too(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "weights.safetensors").touch()
    assert find_archive(tmp_path) == tmp_path
    assert read_archive_config(tmp_path) == CONFIG


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_missing_archive_is_refused_with_its_path(name: str, tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")  # that of a run, not of a model
    with pytest.raises(
        ConfigError, match=r"Model archive not found: expected .* which holds wts\.h5\.zip"
    ) as caught:
        find_archive(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_an_archive_may_say_nothing(tmp_path: Path):
    empty = tmp_path / "wts.h5.zip"
    empty.touch()
    assert read_archive_config(empty) is None
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("weights.bin", b"")
    assert read_archive_config(empty) is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {}}', '{"model": 3, "training": {}}'])
def test_an_archive_that_says_something_else_is_refused(content: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"expected config\.json to hold 'model' and 'training'"):
        read_archive_config(write(tmp_path / "wts.h5.zip", content))
