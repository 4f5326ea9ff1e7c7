"""Whole messages, as people read them, are in messages.txt; other tests look at type, name and origin.

After a change of wording, `python -m tests.cli.test_messages` writes the file anew; read the difference.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from unittest import mock

from ptycho_torch.cli.main import main

GOLDEN: Final = Path(__file__).with_name("messages.txt")
FILES: Final[Mapping[str, str]] = {
    "colon.toml": "[execution]\nnum_workers: 3\n",
    "text.toml": "[execution]\naccelerator = cpu\n",
    "case.toml": "[execution]\npin_memory = True\n",
    "comma.toml": "[training]\nnepochs = 3,\n",
    "zero.toml": "[execution]\nseed = 08\n",
    "twice.toml": "[training]\nnepochs = 3\nnepochs = 4\n",
    "names.toml": "[training]\nnepoch = 3\nlearning_rate = 1e-3\nwormhole = 'hush'\n",
    "table.toml": "[trainig]\nnepochs = 3\n",
    "outside.toml": "nepochs = 3\n[model]\nN = 64\n",
    "values.toml": "[execution]\nnum_workers = 'many'\nseed = -1\nprefetch_factor = 2\n",
    "tab.yaml": "training:\n\tnepochs: 3\n",
    "blank.yaml": "execution:\n  num_workers:3\n",
    "blanks.yaml": "execution:\n  num_workers:3\n  pin_memory: true\n",
    "single.yaml": "num_workers:3\n",
    "decimal.yaml": "execution:\n  learning_rate: 1,5\n",
    "quote.toml": "[execution]\naccelerator = 'cpu\nseed = 3\n",
    "dots.toml": f"{'.'.join(['a'] * 2000)} = 1\n",
    "control.yaml": "training:\n  nepochs: 3\n  batch_size: \x01\n",
    "comma.json": '{"training": {"nepochs": 3,}}\n',
    "list.json": "[1, 2]\n",
    "array.toml": "[[execution]]\nseed = 3\n",
    "outside.yaml": "seed: 3\nexecution:\n  num_workers: 3\n",
    "tag.yaml": "execution:\n  seed: !!int 3\n",
    "path.toml": "[training]\noutput_dir = '$GONE/runs'\n",
    "old.toml": "[training]\nn_images = 3\nn_groups = 3\n",
    "clash.toml": "[training]\nbackend = 'tensorflow'\n[model]\nN = 32\n[execution]\nmiddle_trim = 33\n",
    "file.txt": "nepochs = 3\n",
}
LINES: Final = (
    *(f"config check {name}" for name in FILES),
    "config check missing.toml",
    "config check -",
    "trian",
    "--seed 3 train",
    "train",
    "train a.npz b.npz",
    "train missing.npz --nepochs 0 --num-worker 4 --learning-rate fast",
    "train missing.npz --lr-warmup-epochs 5 --nepochs 3 --persistent-workers",
    "train missing.npz --train-data-file x",
    "train missing.npz --device cpu",
    "reconstruct missing.npz --epochs 3",
    "report run --output $GONE/a.html",
    "train missing.npz --precision 16-true",
    "train missing.npz --seed 3 --seed 4",
    "train missing.npz --nepochs",
    "train missing.npz --quiet=1",
    "train missing.npz --quiet true",
    "train --pin-memory true missing.npz",
    "train missing.npz --learning-rate 1,5",
    "train -- missing.npz --nepochs 3",
    "train missing.npz --recipe standrad",
    "train missing.npz --gridsize 5 --neighbor-count 8",
    "train missing.npz --scheduler Adaptive --lr-warmup-epochs 2",
    "train missing.npz --scheduler Exponential --lr-min-ratio 0",
    "train missing.npz --torch-loss-mode poisson --nll-weight 0",
    "train missing.npz --probe-trainable --architecture cnn --model-type supervised",
    "train missing.npz --n-subsample 3",
    "train --config missing.toml --output-dir= --no-pin-memory=true",
    "train missing.npz --pin-memory --no-pin-memory",
    "train missing.npz --output-dir $GONE/runs --config ${GONE:-x}/run.toml",
    "train missing.npz --resume auto --overwrite",
    "train --resume runs --recipe best",
    "reconstruct runs",
    "reconstruct missing.npz --n-groups 3 --positions-from 5 --refine-positions --n-iterations 4",
    "reconstruct missing.zip missing.npz --prior tv",
    "reconstruct missing.npz missing.zip",
    "reconstruct --resume runs",
    "doctor runs",
    "doctor runs --seed 3",
    "simulate --output scan.npz --N 33",
    "simulate --output scan.npz --phase-image cat",
    "simulate --output scan.npz --N many --nphotons 0",
    "simulate --output a.npz --output b.npz",
    "config shwo",
    "config --json",
    "config show demo",
    "config show train --toml --json",
    "config diff missing.toml",
    "config diff missing.toml list.json",
    "config init --recipe values.toml",
    "completion tcsh",
)
"""Command lines that are refused, in a folder with the files."""
ENVIRONMENTS: Final = (
    {"PTYCHO_EXEC_NUM_WORKER": "4"},
    {"PTYCHO_EXEC_NEPOCHS": "4"},
    {"PTYCHO_EXEC_SEED": "many"},
    {"PTYCHO_EXEC_LR": "0.1"},
    {"PTYCHO_EXEC_TOKEN": "hush"},
    {"PTYCHO_CONFIG": "missing.toml"},
)
"""What is refused of the environment."""


def messages(folder: Path) -> Iterator[str]:
    """What every command line is refused with, in a folder that is empty."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for line in LINES:
        yield f"$ ptycho {line}\n{refusal(line, {})}"
    for variables in ENVIRONMENTS:
        ((name, value),) = variables.items()
        yield f"$ {name}={value} ptycho train missing.npz\n{refusal('train missing.npz', variables)}"


def refusal(line: str, variables: Mapping[str, str]) -> str:
    """What is printed, and the exit code."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            code: object = main(line.split())
        except SystemExit as leaving:
            code = leaving.code
    lines = printed.getvalue().splitlines(keepends=True)
    told = "".join(
        line for line in lines if not line.endswith(": loading PyTorch\n")
    )  # where it is not loaded yet
    return f"{told}[{code}]\n"


def test_messages_are_the_ones_that_were_read(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        assert "\n".join(messages(tmp_path)) == GOLDEN.read_text(encoding="ascii")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        text = "\n".join(messages(Path(name)))
    GOLDEN.write_text(text, encoding="ascii")
