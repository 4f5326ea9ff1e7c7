"""What a wrong name or word is taken for: what others call it first, then spelling, and never another meaning."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho.config.config import PyTorchExecutionConfig, TrainingConfig
from ptycho_torch.cli.main import main
from tests.refusals import message


@pytest.mark.parametrize(
    ("build", "end"),
    [
        (lambda: PyTorchExecutionConfig(device="cpu"), " Did you mean accelerator or n_devices?"),
        (
            lambda: PyTorchExecutionConfig.resolve(overrides={"gpus": 1}),
            " Did you mean accelerator or n_devices?",
        ),
        (lambda: TrainingConfig(max_epochs=3), " Did you mean nepochs?"),
        (lambda: PyTorchExecutionConfig(precision="16-true"), "got '16-true' from argument."),
        (lambda: PyTorchExecutionConfig(precision="16-mixd"), " Did you mean 16-mixed?"),
    ],
)
def test_a_suggestion_has_the_meaning_of_what_was_written(build: Callable[[], object], end: str):
    assert message(build).endswith(end)


@pytest.mark.parametrize(
    ("flag", "end"),
    [
        ("--train-data-file", " Give the path as DATA, without a flag."),
        ("--device", " Did you mean --accelerator or --n-devices?"),
    ],
)
def test_a_foreign_flag_is_told_by_its_meaning(flag: str, end: str, capsys: pytest.CaptureFixture[str]):
    main(["train", flag, "x"])
    assert f"{flag}: no such flag.{end}" in capsys.readouterr().err


def test_a_file_may_name_its_schema(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"$schema": "https://example.org/settings.json", "seed": 7}')
    assert PyTorchExecutionConfig.from_file(path).seed == 7
