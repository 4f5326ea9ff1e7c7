"""NPZ files with damaged bytes, false sizes and hostile content: refused by name, or read bit-equal."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from ptycho import memory
from ptycho.raw_data import DataError, RawData
from tests.core.scan_arrays import scan_arrays, write

ARRAYS = scan_arrays(n=6) | {
    "holdout": np.arange(6) == 2,
    "bad_pixels": np.arange(64).reshape(8, 8) == 5,
    "objectGuess": np.ones((40, 40), np.complex64),
    "metadata": np.array(json.dumps({"measurement_domain": "amplitude"})),
}


def content_of(scan):
    """Everything that a scan was read to be, as bytes."""
    return [
        None
        if value is None
        else (np.asarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value))
        for name, value in vars(scan).items()
        if name not in ("path", "patterns")
    ] + [np.asarray(scan.patterns).tobytes()]


def read(path):
    """The message of a refusal, or the content."""
    try:
        return "", content_of(RawData.from_file(path))
    except DataError as error:
        return str(error), None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_byte_anywhere_is_refused_or_harmless(tmp_path, save):
    path = tmp_path / "scan.npz"
    save(path, **ARRAYS)
    whole = path.read_bytes()
    expected = content_of(RawData.from_file(path))
    rng = np.random.default_rng(0)
    headers = [at for at in range(len(whole)) if whole[at : at + 2] == b"PK"]
    places = {
        *rng.integers(0, len(whole), 400).tolist(),
        *(at + int(rng.integers(60)) for at in headers for _ in range(8)),
    }
    refused = 0
    for place in sorted(at for at in places if at < len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        message, found = read(path)
        refused += found is None
        assert "scan.npz" in message if found is None else found == expected, f"byte {place} of {len(whole)}"
    assert refused > 300


def test_damage_is_named_with_file_and_member(tmp_path):
    path = write(tmp_path / "scan.npz", **ARRAYS)
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["diff3d"].tobytes()) + 700] ^= 16
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"^diff3d: .*got damaged ones .*scan\.npz\. Copy the file",
    ):
        RawData.from_file(path)


def test_an_array_that_unpacks_to_more_than_the_memory_is_refused_before_it_is_unpacked(
    tmp_path, monkeypatch
):
    path = tmp_path / "scan.npz"
    np.savez_compressed(path, **(ARRAYS | {"diff3d": np.zeros((600, 128, 128), np.float32)}))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr("ptycho.npz_files.too_large", lambda n_bytes: n_bytes > 10**7)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"diff3d: .*got 39\.3 MB"):
        RawData.from_file(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_header_that_declares_another_size_than_the_file_holds_is_refused(tmp_path):
    path = write(
        tmp_path / "scan.npz", **{name: array for name, array in ARRAYS.items() if name != "holdout"}
    )
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("holdout.npy", member.getvalue() + b"01234567")
    with pytest.raises(DataError, match=r"holdout: .*got one of 8 "):
        RawData.from_file(path)


def test_a_member_twice_is_refused(tmp_path):
    path = write(tmp_path / "scan.npz", **ARRAYS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("holdout.npy", b"")
    with pytest.raises(DataError, match=r"scan file: .*got one twice"):
        RawData.from_file(path)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('{"a": ' * 10_000 + "1" + "}" * 10_000, "nested"),
        ("[" * 10_000, "nested"),
        (json.dumps({"note": "x" * 10_000_000}), "40 MB"),
        (json.dumps({"a": {"b": {}}}).replace("{}", '{"c":' * 60 + "1" + "}" * 60), "nested"),
    ],
)
def test_metadata_that_is_too_long_or_too_deep_is_refused(tmp_path, text, got):
    path = write(tmp_path / "scan.npz", **(ARRAYS | {"metadata": np.array(text)}))
    with pytest.raises(DataError, match=rf"metadata: .*got .*{got}"):
        RawData.from_file(path)


def test_what_a_file_says_of_itself_is_repeated_without_its_control_characters(tmp_path):
    folder = tmp_path / "a\x1b[31m\nb"
    folder.mkdir()
    path = write(
        folder / "scan\r.npz",
        **(ARRAYS | {"metadata": np.array(json.dumps({"measurement_domain": "\x1b]0;x\x07"}))}),
    )
    with pytest.raises(DataError) as caught:
        RawData.from_file(path)
    assert str(caught.value).isprintable()
    assert r"a\x1b[31m\nb" in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        RawData.from_file(folder / "none.npz")
    assert str(missing.value).isprintable()


def test_memory_is_what_the_machine_and_the_group_of_the_process_allow():
    assert 2**20 < memory.available_bytes() < 2**50
    assert memory.too_large(2**60)
    assert [memory.size_text(n) for n in (0, 999, 39_321_600, 1.6e13)] == [
        "0 bytes",
        "999 bytes",
        "39.3 MB",
        "16 TB",
    ]
