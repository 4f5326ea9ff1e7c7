"""The model archive: what is saved comes back, equal content gives equal bytes, nothing is executed."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.bundle import BundleError, load_bundle, save_bundle

CONFIG = {"model": {"N": 64, "gridsize": 2}, "execution": {"learning_rate": 1e-3, "logger_backend": None}}


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 4, generator=generator)
    return {
        "layer.weight": weight,
        "layer.transposed": weight.t(),
        "tied": weight,
        "probe": torch.randn(2, 2, dtype=torch.complex64, generator=generator).conj(),
        "probe64": torch.randn(2, 2, dtype=torch.complex128, generator=generator).conj(),
        "n_batches": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save_bundle(tmp_path, state_dict=state(), config=CONFIG)


def rewrite(archive: Path, **changed: bytes | None) -> Path:
    """Write the archive again, members changed (bytes), added or dropped (None); `__` stands for a dot."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members |= {name.replace("__", "."): content for name, content in changed.items()}
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return archive


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert message.endswith(".")
    return message


def test_state_dict_comes_back_bit_equal(archive: Path):
    bundle = load_bundle(archive)
    assert bundle.state_dict.keys() == state().keys()
    for name, value in state().items():
        assert bundle.state_dict[name].dtype == value.dtype
        assert bundle.state_dict[name].device.type == "cpu"
        assert torch.equal(bundle.state_dict[name], value)


def test_configuration_comes_back_with_format_and_version(archive: Path):
    config = load_bundle(archive).config
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert config["format"] == 1
    assert isinstance(config["version"], str)


def test_equal_content_gives_equal_bytes(archive: Path, tmp_path: Path):
    again = save_bundle(
        tmp_path / "again.zip",
        state_dict=dict(reversed(state().items())),
        config=dict(reversed(CONFIG.items())),
    )
    assert again.read_bytes() == archive.read_bytes()


def test_loaded_parameters_enter_a_model(tmp_path: Path):
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_bundle(tmp_path, state_dict=model.state_dict(), config={})
    other.load_state_dict(load_bundle(tmp_path).state_dict)
    assert torch.equal(model.weight, other.weight)


def test_folder_of_the_archive_is_accepted(archive: Path):
    assert load_bundle(archive.parent).config == load_bundle(archive).config


def test_folder_of_unpacked_members_is_accepted(archive: Path, tmp_path: Path):
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    bundle = load_bundle(folder)
    assert bundle.config == load_bundle(archive).config
    assert torch.equal(bundle.state_dict["probe64"], state()["probe64"])


def test_failed_save_leaves_the_old_archive_and_no_partial_file(archive: Path):
    before = archive.read_bytes()
    with pytest.raises(BundleError, match="expected a configuration of JSON data"):
        save_bundle(archive, state_dict=state(), config={"learning_rate": float("nan")})
    assert archive.read_bytes() == before
    assert os.listdir(archive.parent) == ["wts.h5.zip"]


def test_save_replaces_an_older_archive(archive: Path):
    save_bundle(archive, state_dict={"a": torch.ones(1)}, config={})
    assert list(load_bundle(archive).state_dict) == ["a"]
    assert os.listdir(archive.parent) == ["wts.h5.zip"]


@pytest.mark.parametrize("config", [{"path": Path("a")}, {"x": object()}, {"format": 1}, {"version": "9"}])
def test_configuration_that_is_no_json_or_states_the_format_is_refused(config: dict, tmp_path: Path):
    with pytest.raises(BundleError):
        save_bundle(tmp_path, state_dict={}, config=config)
    assert not os.listdir(tmp_path)


def test_missing_archive_is_named(tmp_path: Path):
    assert "Model archive not found" in refusal(tmp_path / "wts.h5.zip")
    assert "Model archive not found" in refusal(tmp_path)


def test_half_unpacked_folder_names_the_missing_member(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert "without weights.safetensors" in refusal(tmp_path)


def test_pickle_is_refused_unopened(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save({"weights": Bomb()}, tmp_path / "wts.h5.zip")
    assert "a pickle, which can run any code" in refusal(tmp_path / "wts.h5.zip")
    (tmp_path / "bare.zip").write_bytes(pickle.dumps(Bomb()))
    assert "not a complete zip archive" in refusal(tmp_path / "bare.zip")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "weights.h5", "config.json/", "CONFIG.JSON"])
def test_unknown_member_is_refused_by_name(name: str, archive: Path):
    assert repr(name) in refusal(rewrite(archive, **{name.replace(".", "__"): b""}))


def test_member_that_appears_twice_is_refused(archive: Path):
    with zipfile.ZipFile(archive, "a") as packed, pytest.warns(UserWarning, match="Duplicate name"):
        packed.writestr("config.json", "{}")
    assert "exactly the members" in refusal(archive)


def test_compressed_member_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = tmp_path / "wts.h5.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("config.json", b"{}")
        bomb.writestr("weights.safetensors", bytes(10**7))
    assert "'config.json' compressed or encrypted" in refusal(path)


def test_member_that_claims_more_than_the_file_holds_is_refused(archive: Path):
    content = bytearray(archive.read_bytes())
    entry = content.index(b"PK\x01\x02")  # the directory's first entry: sizes at offsets 20 and 24
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    archive.write_bytes(content)
    assert "an intact model archive" in refusal(archive)


def test_newer_format_names_its_version_and_the_way_out(archive: Path):
    message = refusal(rewrite(archive, config__json=json.dumps({"format": 2, "version": "9.1"}).encode()))
    assert "format 2, written by version 9.1" in message
    assert "in a checkout of it, run pip install ." in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": true}',
        b'{"format": 1, "format": 1}',
        b'{"format": 1, "a": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_damaged_configuration_is_refused(content: bytes, archive: Path):
    assert "config.json" in refusal(rewrite(archive, config__json=content))


def header(content: dict) -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        header({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}) + bytes(4),
        header({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + bytes(4),
        header({"__metadata__": {"complex128": "["}}),
        header({"__metadata__": {"complex128": "7"}}),
        safetensors.torch.save({"a": torch.ones(3)}, {"complex128": '["a"]'}),
    ],
)
def test_damaged_weights_are_refused(content: bytes, archive: Path):
    assert "weights.safetensors that cannot be read" in refusal(
        rewrite(archive, weights__safetensors=content)
    )


@given(data=st.data())
def test_damage_anywhere_is_a_bundle_error_or_harmless(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.getbasetemp() / "damage"
    whole = save_bundle(folder, state_dict={"a": torch.arange(4.0)}, config={}).read_bytes()
    content = bytearray(whole)
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "damaged.zip").write_bytes(content)
    try:
        bundle = load_bundle(folder / "damaged.zip")
    except BundleError:
        return
    assert torch.equal(bundle.state_dict["a"], torch.arange(4.0))


def test_archive_is_readable_by_others_as_the_umask_allows(archive: Path):
    umask = os.umask(0)
    os.umask(umask)
    assert archive.stat().st_mode & 0o777 == 0o666 & ~umask


def test_weights_member_is_a_plain_safetensors_file(archive: Path):
    with zipfile.ZipFile(archive) as packed:
        weights = safetensors.torch.load(packed.read("weights.safetensors"))
        assert json.loads(io.TextIOWrapper(packed.open("config.json")).read())["model"] == CONFIG["model"]
    assert torch.equal(weights["layer.weight"], state()["layer.weight"])
