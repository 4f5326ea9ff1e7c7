"""Finding a trained model, and asking it what it is."""

import json
import struct
import zipfile
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho.model_archive import BundleError, find_archive, read_archive_config

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


def test_a_model_that_is_kept_in_a_folder_below_is_named(tmp_path: Path):
    kept = tmp_path / "run" / ".earlier-1"
    kept.mkdir(parents=True)
    write(kept / "wts.h5.zip", json.dumps(CONFIG))
    with pytest.raises(ConfigError, match=rf"Name the folder of an existing model: {kept}\."):
        find_archive(tmp_path / "run")


def test_an_archive_may_say_nothing(tmp_path: Path):
    empty = tmp_path / "wts.h5.zip"
    empty.touch()
    assert read_archive_config(empty) is None
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("weights.bin", b"")
    assert read_archive_config(empty) is None


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_archive_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    return message


def test_a_compressed_configuration_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = tmp_path / "wts.h5.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(CONFIG) + " " * 10**6)
    assert "'config.json' compressed or encrypted" in refusal(path)


def test_an_encrypted_configuration_is_refused(tmp_path: Path):
    path = write(tmp_path / "wts.h5.zip", json.dumps(CONFIG))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the directory's entry
    path.write_bytes(content)
    assert "'config.json' compressed or encrypted" in refusal(path)


def test_a_configuration_larger_than_any_is_refused_before_it_is_read(tmp_path: Path):
    path = write(tmp_path / "wts.h5.zip", json.dumps(CONFIG))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")  # sizes at offsets 20 and 24
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31 - 1, 2**31 - 1)
    path.write_bytes(content)
    assert f"config.json of {2**31 - 1} bytes" in refusal(path)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**31)
    assert f"config.json of {2**31} bytes" in refusal(tmp_path)


def test_a_damaged_configuration_is_refused(tmp_path: Path):
    path = write(tmp_path / "wts.h5.zip", json.dumps(CONFIG))
    path.write_bytes(path.read_bytes().replace(b'"batch_size"', b'"batch_sise"', 1))
    assert "expected an intact model archive" in refusal(path)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"model": {}, "model": {}}', '{"model": NaN}'])
def test_a_configuration_that_is_no_json_is_refused(content: str, tmp_path: Path):
    assert "config.json that is not JSON" in refusal(write(tmp_path / "wts.h5.zip", content))


@pytest.mark.parametrize("content", ["[]", "{}", '{"model": {}}', '{"model": 3, "training": {}}'])
def test_an_archive_that_says_something_else_is_refused(content: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"expected config\.json to hold 'model' and 'training'"):
        read_archive_config(write(tmp_path / "wts.h5.zip", content))


@pytest.mark.parametrize("start", [b"\x89HDF\r\n\x1a\n", None])
def test_a_scan_is_no_model(start: bytes | None, tmp_path: Path):
    scan = tmp_path / "scan"
    if start is None:
        with zipfile.ZipFile(scan, "w") as archive:
            archive.writestr("diff3d.npy", b"")
    else:
        scan.write_bytes(start)
    with pytest.raises(ConfigError, match=rf"^inference\.model_path: .*got the scan '{scan}'"):
        find_archive(scan)
