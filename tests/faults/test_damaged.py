"""Files that are damaged: refused in words, or, where the damage is in bytes that mean nothing, read as they were."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho.config.canonical import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.recipes import STANDARD
from ptycho.raw_data import RawData
from ptycho_torch.bundle import load_bundle
from ptycho_torch.cli.config_init import template
from ptycho_torch.cli.main import main
from ptycho_torch.runtime import LossHistory
from tests.faults.conftest import Tally
from tests.faults.damage import damaged
from tests.faults.doors import COMMAND, ask, resumed_payload
from tests.faults.hostile_models import trained
from tests.faults.hostile_scans import sound
from tests.faults.hostile_trees import write_cxi, write_product

SEEDS = 240
"""Damages to a file of each kind."""
PARTS = 12
LEAST = 2000


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes a sound one into a folder, and gives the path of the file to be damaged.
        read: reads it through a door.
        has_checksums: damage that changes what is read has to be noticed.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    has_checksums: bool


def plain(value: Any) -> Any:
    """A reading in a form that can be compared; paths left out."""
    if isinstance(value, RawData):
        return {name: plain(item) for name, item in vars(value).items() if name != "path"}
    if hasattr(value, "__array__"):
        value = np.asarray(value)
        return (str(value.dtype), value.shape, np.ascontiguousarray(value).tobytes())
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _scan(write: Callable[..., Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        flags = np.zeros((32, 32), bool)
        flags[3, 4] = True
        text = json.dumps({"measurement_domain": "amplitude", "nphotons": 1e5})
        write(folder / "scan.npz", **sound(bad_pixels=flags, metadata=np.array(text)))
        return folder / "scan.npz"

    return make


def _diffraction(folder: Path, **options: Any) -> Path:
    return write_product(folder / "product.h5", **options).with_name("diffraction.h5")


def _bundle(folder: Path) -> Path:
    return Path(shutil.copy(trained() / "wts.h5.zip", folder))


def _read_bundle(path: Path) -> Any:
    held = load_bundle(path)
    return held.state_dict, held.config


def _one_checkpoint(folder: Path) -> Path:
    """A run with one checkpoint alone, and no model."""
    run = Path(shutil.copytree(trained(), folder / "run"))
    (run / "wts.h5.zip").unlink()
    for checkpoint in (run / "checkpoints").glob("epoch*.ckpt"):
        checkpoint.unlink()
    return run / "checkpoints" / "last.ckpt"


def _read_checkpoint(path: Path) -> Any:
    """What a training would go on from, after the door has taken it; None where torch cannot read it."""
    resumed_payload(path.parents[1])
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, torch.serialization.pickle.UnpicklingError):
        return None


def _record(folder: Path) -> Path:
    return _one_checkpoint(folder).parents[1] / "config.json"


def _history(folder: Path) -> Path:
    return _one_checkpoint(folder).parents[1] / "history.csv"


def _check(path: Path) -> Any:
    return main(["config", "check", str(path)])


def _settings(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"run{suffix}"
        text = (
            template(STANDARD, as_yaml=suffix == ".yaml").replace("#nepochs", "nepochs").replace("#N ", "N ")
        )
        path.write_text(text.replace("#learning_rate", "learning_rate").replace("#output_dir", "output_dir"))
        return path

    return make


def _read_settings(path: Path) -> None:
    for cls in (TrainingConfig, PyTorchExecutionConfig):
        cls.from_file(path)


KINDS = {
    "NPZ": Kind(_scan(np.savez), RawData.from_file, True),
    "NPZ, compressed": Kind(_scan(np.savez_compressed), RawData.from_file, True),
    "CXI": Kind(lambda folder: write_cxi(folder / "scan.cxi"), RawData.from_file, False),
    "CXI, compressed": Kind(
        lambda folder: write_cxi(folder / "scan.cxi", compression="gzip"), RawData.from_file, False
    ),
    "product": Kind(lambda folder: write_product(folder / "product.h5"), RawData.from_file, False),
    "diffraction.h5": Kind(
        _diffraction, lambda path: RawData.from_file(path.with_name("product.h5")), has_checksums=False
    ),
    "model": Kind(_bundle, _read_bundle, True),
    "checkpoint": Kind(_one_checkpoint, _read_checkpoint, True),
    "record": Kind(_record, lambda path: resumed_payload(path.parent), False),
    "record, checked": Kind(_record, lambda path: ask(_check, path, codes=COMMAND), False),
    "history": Kind(_history, lambda path: LossHistory(path).rows, False),
    "TOML": Kind(_settings(".toml"), _read_settings, False),
    "YAML": Kind(_settings(".yaml"), _read_settings, False),
    "TOML, checked": Kind(_settings(".toml"), lambda path: ask(_check, path, codes=COMMAND), False),
}
CASES = [
    pytest.param(kind, part, marks=[] if part == 0 else [pytest.mark.thorough])
    for kind in KINDS
    for part in range(PARTS)
]


def test_there_are_enough_damaged_files() -> None:
    assert len(KINDS) * SEEDS >= LEAST


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "part"), CASES)
def test_a_damaged_file_is_refused_or_read_as_it_was(
    kind: str, part: int, tmp_path: Path, tally: Tally
) -> None:
    what = KINDS[kind]
    file = what.make(tmp_path)
    content = file.read_bytes()
    whole = plain(what.read(file))
    size = SEEDS // PARTS
    seeds = range(part * size, (part + 1) * size)
    found = []
    for seed in seeds:
        changed, how = damaged(content, seed)
        file.unlink()  # the file that is mapped stays as it was
        file.write_bytes(changed)
        found += [f"{how}: {wrong}" for wrong in _wrong(what, file, whole)]
    tally("damaged files", len(seeds))
    assert not found, f"{len(found)} of {len(seeds)}\n" + "\n".join(found)


def _wrong(what: Kind, file: Path, whole: Any) -> Iterator[str]:
    answer = ask(what.read, file)
    inner = answer.value.problem if hasattr(answer.value, "problem") else None
    if answer.problem or inner:
        yield str(answer.problem or inner)
    elif answer.code == 0 and what.has_checksums and plain(answer.value) != whole:
        yield "damaged bytes read as good"
