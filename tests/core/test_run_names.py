"""Names of the folders of runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho.data_error import DataError
from ptycho.run_names import default_folder, distinct_names, folder_name, reconstruction_folder, refuse_run
from tests.core.runs import write_run


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("scan", "scan"),
        ("my scan 7", "my scan 7"),
        ("..", "scan"),
        (".", "scan"),
        ("", "scan"),
        (".hidden", "hidden"),
        ("a/b\\c", "a-b-c"),
        ("a\x1b[2J\nb", "a-[2J-b"),
        ("\udcff", "-"),
        ("checkpoints", "checkpoints-scan"),
        ("config.json", "config.json-scan"),
    ],
)
def test_a_name_is_one_visible_part_of_a_path(stem: str, name: str) -> None:
    assert folder_name(stem) == name


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    names = {folder_name("x" * 300 + end) for end in "ab"}
    assert len(names) == 2
    for name in names:
        (tmp_path / name).mkdir()


def test_equal_names_are_told_apart() -> None:
    assert distinct_names(["a", "A", "a\n", "a-", "b"]) == ["a", "A-2", "a-", "a--2", "b"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(data: str) -> str:
    return str(default_folder(Path("runs"), data))


def trained_on(data: str) -> Callable[[str], None]:
    def train(folder: str) -> None:
        write_run(Path(folder), json.dumps({"configuration": {"train_data_file": data}}), ("config.json",))

    return train


@pytest.mark.usefixtures("here")
def test_scans_of_one_name_have_folders_of_their_own_before_any_of_them_runs() -> None:
    assert named("scan.npz") == "runs/scan"
    assert named("scan_001/data.npz") == "runs/scan_001-data"
    assert named("scan_002/data.npz") == "runs/scan_002-data"
    assert named("...npz") == "runs/scan"


def test_a_folder_with_a_run_on_another_scan_is_left_alone(here: Path) -> None:
    trained_on("scan.npz")("runs/scan")
    assert named("scan.npz") == named(str(here / "scan.npz")) == "runs/scan"
    assert named("scan.h5") == f"runs/{here.name}-scan"
    trained_on("a/b/data.npz")("runs/b-data")
    assert named("c/b/data.npz") == "runs/c-b-data"
    trained_on("c/b/data.npz")("runs/c-b-data")
    Path("runs/b-data/config.json").unlink()
    assert named("c/b/data.npz") == "runs/c-b-data"  # where its own run is


@pytest.mark.usefixtures("here")
def test_a_folder_in_that_of_a_model_does_not_repeat_its_name(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "wts.h5.zip").touch()
    for model in (tmp_path / "runs" / "x", tmp_path / "runs" / "x" / "wts.h5.zip"):
        assert reconstruction_folder(model, "x.npz") == tmp_path / "runs" / "x" / "reconstruction"
        assert reconstruction_folder(model, "y.npz") == tmp_path / "runs" / "x" / "y"


@pytest.mark.usefixtures("here")
def test_a_link_is_no_default_folder() -> None:
    Path("runs").mkdir()
    Path("runs/b-data").symlink_to(Path("..").resolve())
    assert named("a/b/data.npz") == "runs/a-b-data"


def test_scans_of_no_file_have_a_folder_each_and_find_it_again(here: Path) -> None:
    def named(data: str) -> str:
        return str(default_folder(Path("runs"), data, is_own=True))

    assert named("scan-1.npz") == "runs/scan"
    trained_on(str(here / "runs/scan/scan-1.npz"))("runs/scan")
    assert named("scan-1.npz") == "runs/scan"
    assert named("scan-2.npz") == "runs/scan-2"


@pytest.mark.usefixtures("here")
def test_a_run_is_no_scan_unless_its_scans_are_in_its_folder() -> None:
    Path("scan.npz").touch()
    trained_on("scan.npz")("runs/scan")
    with pytest.raises(DataError, match=r"^runs/scan: expected a scan; got a run\..*, scan\.npz\.$"):
        refuse_run("runs/scan")
    trained_on("gone.npz")("runs/gone")
    with pytest.raises(DataError, match=r"^runs/gone: .* that the run is on\.$"):
        refuse_run("runs/gone")
    trained_on("both")("both")
    for path in ("both", "scan.npz", "missing"):
        refuse_run(path)
