"""What the folder of a run holds, and an earlier run that nothing loses."""

import os
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho.model_archive import ARCHIVE
from ptycho.run_files import earlier_run, has_results, holds_training
from ptycho.run_folder import RunFolder, one_set, run_failure
from tests.core.runs import TRAINING, contents, earlier, whole, write_run
from tests.refusals import refusing


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return earlier(tmp_path)


def replaced(run: Path, names: tuple[str, ...], *, fails: bool = False) -> None:
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        assert contents(run) == {}
        write_run(run, "new", names)
        if fails:
            raise KeyboardInterrupt
        folder.saved()


# What holds a run, and what replaces it -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "history.csv", "checkpoints", ARCHIVE, "metrics.json"])
def test_a_folder_that_holds_a_run_is_refused_with_the_ways_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "checkpoints" else (tmp_path / name).touch()
    names = {name} if name == ARCHIVE else {name, "config.json"}
    (tmp_path / max(names - {name}, default=name)).touch()
    if name == "checkpoints":
        (tmp_path / "config.json").write_text('{"configuration": {"train_data_file": "scan.npz"}}')
    with (
        refusing("output_dir") as caught,
        RunFolder(tmp_path) as folder,
    ):
        folder.refuse_run()
    assert "--overwrite" in str(caught.value)
    assert ("--resume" in str(caught.value)) == (name == "checkpoints")
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_training_whose_record_is_damaged_cannot_be_resumed(run: Path) -> None:
    (run / ARCHIVE).unlink()
    with refusing("output_dir") as caught, RunFolder(run) as folder:
        folder.refuse_run()
    assert "a training that was not finished" in str(caught.value)
    assert "--resume" not in str(caught.value)


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/again", ".earlier-1/again"])
def test_nothing_is_written_into_a_folder_that_goes_with_a_run(run: Path, place: str) -> None:
    (run / "config.json").write_text('{"configuration": {"train_data_file": "scan.npz"}}')
    before = contents(run)
    with refusing("output_dir") as caught, RunFolder(run / place):
        pass
    assert f"the run {run}," in str(caught.value)
    assert contents(run) == before


def test_a_folder_called_checkpoints_is_as_good_as_any(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "checkpoints" / "mine") as folder:
        folder.begin(anew=True)


def test_a_run_that_may_not_be_replaced_is_refused_without_that_way_on(run: Path) -> None:
    with pytest.raises(ConfigError) as caught, RunFolder(run) as folder:
        folder.refuse_run(may_resume=False, may_replace=False)
    assert str(caught.value).endswith("got one with a trained model. Name another folder.")


def test_other_files_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert run_failure(tmp_path) is None


@pytest.mark.parametrize(
    "names",
    [
        *[("run.log",), ("SHA256SUMS",), ("run.log", "SHA256SUMS"), ("patterns.npz",), ("history.csv",)],
        *[("checkpoints/mine.ckpt",), ("config.json", "metrics.json"), ("state.pt", "preview.npz")],
    ],
)
def test_files_without_the_record_of_a_run_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_run(tmp_path, '{"of": "another program"}', names)
    failure = run_failure(tmp_path)
    assert failure is not None
    assert all(name.split("/")[0] in failure.message for name in names)
    assert "without the record of a run" in failure.message
    with refusing("output_dir"), RunFolder(tmp_path):
        pass
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*names}


def test_a_run_that_ends_before_its_record_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(tmp_path / "run", ("run.log",), fails=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unpacked_model_is_a_model(tmp_path: Path) -> None:
    names = ("config.json", "weights.safetensors")
    write_run(tmp_path, "old", names)
    failure = run_failure(tmp_path)
    assert failure is not None
    assert "got one with a trained model" in failure.message
    assert "esume" not in failure.message  # it has no checkpoint
    assert holds_training(tmp_path)
    assert has_results(tmp_path)
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        earlier = earlier_run(tmp_path)
        assert earlier is not None
        assert {path.name for path in earlier.iterdir()} == set(names)


@pytest.mark.parametrize(
    "name", [".ptycho-new", ".ptycho-set", ".earlier-moving", ".earlier-removed", ".ptycho-lock"]
)
def test_what_is_in_the_way_under_a_name_of_writers_is_kept(tmp_path: Path, name: str) -> None:
    if name == ".ptycho-lock":
        write_run(tmp_path / name, "mine", ("notes.txt",))
    else:
        (tmp_path / name).write_text("mine")
    with (
        refusing(str(tmp_path / name)),
        RunFolder(tmp_path),
    ):
        pass
    texts = {path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert texts == {"mine"}


@pytest.mark.parametrize("name", [".new", ".lock"])
def test_folders_of_others_with_a_common_name_are_kept(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, "mine", ("notes.txt",))
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        folder.saved()
    assert (tmp_path / name / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused_with_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "s.npz").touch()
    for path in (tmp_path / "s.npz", tmp_path / "s.npz" / "run"):
        with (
            refusing("output_dir"),
            RunFolder(path),
        ):
            pass


@pytest.mark.parametrize("name", ["run.log", "history.csv", "SHA256SUMS", "checkpoints"])
def test_a_run_does_not_go_on_with_pipes_and_folders_in_place_of_files(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "old", ("config.json",))
    (tmp_path / name).write_text("") if name == "checkpoints" else os.mkfifo(tmp_path / name)
    with refusing(str(tmp_path / name)), RunFolder(tmp_path) as folder:
        folder.begin(anew=False)


def test_a_run_is_kept_aside_until_the_new_one_has_saved(run: Path) -> None:
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        earlier = earlier_run(run)
        assert earlier is not None
        assert contents(earlier) == whole("old")
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    assert {path.name for path in run.iterdir()} == {"notes.txt", *(Path(name).parts[0] for name in TRAINING)}


def test_a_run_that_saves_nothing_gives_the_earlier_one_its_place_back(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(run, TRAINING[:3], fails=True)
    assert contents(run) == whole("old")
    assert earlier_run(run) is None


def test_a_run_that_can_go_on_keeps_its_place_and_the_earlier_one_is_named(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(run, TRAINING[:4], fails=True)
    earlier = earlier_run(run)
    assert earlier is not None
    assert contents(earlier) == whole("old")
    assert str(earlier) in caplog.text
    assert "checkpoints/last.ckpt" in contents(run)
    with RunFolder(run) as folder:  # goes on, and saves
        folder.begin(anew=False)
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    assert earlier_run(run) is None


def test_runs_replaced_one_after_the_other_are_all_kept_until_one_has_saved(run: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            replaced(run, TRAINING[:4], fails=True)
    assert contents(run / ".earlier-1") == whole("old")
    assert earlier_run(run) == run / ".earlier-2"
    replaced(run, TRAINING)
    assert earlier_run(run) is None


def test_a_folder_that_was_made_for_nothing_is_removed_with_those_above(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_results_of_several_scans_are_replaced_as_one_and_no_folder_of_others(tmp_path: Path) -> None:
    write_run(tmp_path, "old", ("config.json", "a/reconstruction.npz", "a/metrics.json", "a/notes.txt"))
    write_run(tmp_path, "other", ("b/metrics.json", "c/config.json", "c/reconstruction.npz"))
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        write_run(tmp_path, "new", ("config.json",))
        with one_set(tmp_path, tmp_path / "d") as new:
            write_run(new, "new", ("reconstruction.npz", "metrics.json"))
        folder.saved()
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    kept = ["a/notes.txt", "b/metrics.json", "c/config.json", "c/reconstruction.npz"]
    assert files == [*kept, "config.json", "d/metrics.json", "d/reconstruction.npz"]


def test_results_appear_together_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with one_set(tmp_path, tmp_path) as new:
            write_run(new, "half", ("reconstruction.npz",))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_refused_leaves_no_record(run: Path, tmp_path: Path) -> None:
    def refused(place: Path, names: tuple[str, ...], *, anew: bool = True) -> None:
        with RunFolder(place) as folder:
            folder.begin(anew=anew)
            write_run(place, "new", names)
            raise DataError("wrong")

    with pytest.raises(DataError):
        refused(tmp_path / "a" / "b", ("config.json", "run.log", "SHA256SUMS"))
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError):
        refused(run, ("config.json", "run.log"))
    assert contents(run) == whole("old")
    with pytest.raises(DataError):
        refused(tmp_path / "c", ("config.json", "history.csv"))
    with pytest.raises(DataError):
        refused(tmp_path / "d", ("config.json",), anew=False)
    kept = [[path.name for path in sorted((tmp_path / name).iterdir())] for name in ("c", "d")]
    assert kept == [["config.json", "history.csv"], ["config.json"]]


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.json", "state.pt", "wts.h5.zip", "a/reconstruction.npz"]
)
def test_a_folder_that_is_called_as_a_file_of_a_run_is_kept(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "mine", (f"{name}/notes.txt", "config.json" if "/" in name else "x"))
    with refusing("output_dir"), RunFolder(tmp_path):
        pass
    assert run_failure(tmp_path) is not None
    assert (tmp_path / name / "notes.txt").read_text() == "mine"


# Links --------------------------------------------------------------------------------------------------------------


def linked(link: Path, to: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(to)


def test_what_links_lead_to_is_neither_removed_nor_written(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    write_run(elsewhere, "mine", ("checkpoints/last.ckpt", "wts.h5.zip", "run.log", "aside/wts.h5.zip"))
    for name in ("checkpoints", "wts.h5.zip", "run.log"):
        linked(run / name, elsewhere / name)
    linked(run / ".earlier-1", elsewhere / "aside")
    with pytest.raises(ConfigError, match=r"checkpoints: .*got a link"), RunFolder(run) as folder:
        folder.begin(anew=False)
    for name in (".earlier-moving", ".earlier-removed"):
        linked(run / name, elsewhere / "aside")
        with refusing(str(run / name)), RunFolder(run):
            pass
        (run / name).unlink()
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    texts = {path.read_text() for path in elsewhere.rglob("*") if path.is_file()}
    assert (texts, len(list(elsewhere.rglob("*")))) == ({"mine"}, 6)


def test_results_are_not_written_through_a_link(tmp_path: Path) -> None:
    linked(tmp_path / "run" / "a", tmp_path)
    with refusing(str(tmp_path / "run" / "a")), one_set(tmp_path / "run", tmp_path / "run" / "a"):
        pass


def test_a_training_that_has_ended_is_trained_longer(tmp_path: Path) -> None:
    write_run(tmp_path, '{"configuration": {"train_data_file": "scan.npz"}}')
    failure = run_failure(tmp_path)
    assert failure is not None
    again = f"ptycho train --resume {tmp_path}"
    assert f"Train longer ({again} --nepochs N; resume=True, nepochs=N in Python)" in failure.message
    (tmp_path / "wts.h5.zip").unlink()
    failure = run_failure(tmp_path)
    assert failure is not None
    assert f"Resume it ({again}; resume=True in Python)" in failure.message
