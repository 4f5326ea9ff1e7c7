"""What a program that is started by its command leaves for others to read."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wires import program

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.mark.proves("logger_backend", seen="wandb keeps an offline run that its reader opens")
def test_wandb_offline(tiny_file: Path, tmp_path: Path) -> None:
    """In a program of its own: the library keeps threads and handlers in the process that used it."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    run_dir = tmp_path / "run"
    settings = ["--nepochs=2", "--n-unrolled-steps=1", "--n-physics-steps=1", "--val-split=0.25"]
    settings += ["--accelerator=cpu", "--logger-backend=wandb", f"--output-dir={run_dir}"]
    done = subprocess.run(
        [sys.executable, *program(), "train", str(tiny_file), *settings],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (kept,) = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    found = []
    for content in log_records(kept.read_bytes()[7:]):
        record = wandb_internal_pb2.Record.FromString(content)
        items = [item for item in record.history.item if "val_loss" in (item.key, *item.nested_key)]
        found += [json.loads(item.value_json) for item in items]
    rows = csv.DictReader((run_dir / "history.csv").read_text().splitlines())
    assert found == pytest.approx([float(row["val_loss"]) for row in rows], rel=1e-6)


def log_records(content: bytes, block: int = 32768) -> Iterator[bytes]:
    """The records of a log in the format of LevelDB: checksum, length and kind before every piece of one.

    What stands before the first block counts as part of it.
    """
    place, record = 0, b""
    while place + 7 <= len(content):
        if block - (place + 7) % block < 7:
            place += block - (place + 7) % block
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""
