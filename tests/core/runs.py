"""Runs of a few words, as files in a folder."""

from pathlib import Path

TRAINING = ("config.json", "run.log", "history.csv", "checkpoints/last.ckpt", "wts.h5.zip")


def write_run(folder: Path, words: str, names: tuple[str, ...] = TRAINING) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)


def contents(folder: Path) -> dict[str, str]:
    """What is in the files of a run in place."""
    found = {name: folder / name for name in TRAINING if (folder / name).is_file()}
    return {name: path.read_text() for name, path in found.items()}


def whole(words: str) -> dict[str, str]:
    return dict.fromkeys(TRAINING, words)


def earlier(folder: Path) -> Path:
    """A run that is there already, and a file of somebody's in its folder."""
    write_run(folder / "run", "old")
    (folder / "run" / "notes.txt").write_text("mine")
    return folder / "run"
