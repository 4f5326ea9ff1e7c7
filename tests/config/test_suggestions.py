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
        (lambda: TrainingConfig(max_epochs=3), " Did you mean training.nepochs?"),
        (lambda: PyTorchExecutionConfig(precision="16-true"), "got '16-true' from argument."),
        (lambda: PyTorchExecutionConfig(precision="16-mixd"), " Did you mean 16-mixed?"),
        (lambda: PyTorchExecutionConfig(precision="16"), " Did you mean 16-mixed?"),
        (lambda: PyTorchExecutionConfig(precision=16), " Did you mean 16-mixed?"),
        (lambda: PyTorchExecutionConfig(precision="BF16"), " Did you mean bf16-mixed?"),
        (lambda: PyTorchExecutionConfig(precision="64"), " Did you mean 64-true?"),
        (
            lambda: PyTorchExecutionConfig(strategy="ddp_find_unused_parameters_false"),
            "got 'ddp_find_unused_parameters_false' from argument.",
        ),
        (lambda: PyTorchExecutionConfig(precision="32"), " Did you mean 32-true?"),
        (lambda: PyTorchExecutionConfig(batchsize=2), " Did you mean [training] batch_size?"),
        (lambda: PyTorchExecutionConfig(nepochs=3), " Did you mean [training] nepochs?"),
        (lambda: TrainingConfig(seed=3), " Did you mean [execution] seed?"),
        (lambda: TrainingConfig(worker=3), "training.worker: no such setting."),
        (lambda: PyTorchExecutionConfig(n_gpus=1), " Did you mean accelerator or n_devices?"),
        (lambda: PyTorchExecutionConfig(patience=1), " Did you mean early_stop_patience?"),
        (lambda: PyTorchExecutionConfig(max_iter=1), " Did you mean [solver] n_iterations?"),
        (lambda: PyTorchExecutionConfig(n_modes=1), " Did you mean [solver] probe_modes?"),
        (lambda: PyTorchExecutionConfig(limit_train_batches=1), "limit_train_batches: no such setting."),
        (lambda: PyTorchExecutionConfig(max_lr_=1), " Did you mean learning_rate?"),
    ],
)
def test_a_suggestion_has_the_meaning_of_what_was_written(build: Callable[[], object], end: str):
    assert message(build).endswith(end)


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("train --train-data-file", ". Give the path as DATA, without a flag."),
        ("train --data-file", ". Give the path as DATA, without a flag."),
        ("reconstruct --model_path", ". Give the path as MODEL, without a flag."),
        ("reconstruct --train-data-file", ". Give the path as DATA, without a flag."),
        ("train --device", ". Did you mean --accelerator or --n-devices?"),
        ("train --model-path", " here. It is a setting of [inference]."),
        ("train --n-iterations", " here. It is a setting of [solver]."),
        ("demo --n-iterations", " here. It is a setting of [solver]."),
        ("reconstruct --nepochs", " here. It is a setting of [training]."),
        ("reconstruct --epochs", " here. nepochs is a setting of [training]."),
        ("train --n-modes", " here. probe_modes is a setting of [solver]."),
    ],
)
def test_a_foreign_flag_is_told_by_its_meaning(words: str, end: str, capsys: pytest.CaptureFixture[str]):
    main([*words.split(), "x"])
    assert f"{words.split()[1].replace('_', '-')}: no such flag{end}" in capsys.readouterr().err


def test_a_long_value_is_not_repeated_in_a_suggestion():
    flags = {"learning_rate": f"1,{'1' * 5000}"}
    assert len(message(lambda: PyTorchExecutionConfig.resolve(flags=flags))) < 200


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("[training]\nnum_worker = 3", " Did you mean [execution] num_workers?"),
        ("[execution]\nbatchsize = 3", " Did you mean [training] batch_size?"),
        ("[execution]\nepochs = 3", " Did you mean [training] nepochs?"),
        ("[training]\nmax_lr_ = 3", " Did you mean [execution] learning_rate?"),
        ("[training]\ngpus = 3", " Did you mean [execution] accelerator or [execution] n_devices?"),
        ("[execution]\ngpus = 3", " Did you mean accelerator or n_devices?"),
        ("[execution]\n16 = 1", " Did you mean precision?"),
    ],
)
def test_a_name_in_a_file_is_looked_for_in_every_table(line: str, end: str, tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_text(line)
    read = TrainingConfig if line.startswith("[training]") else PyTorchExecutionConfig
    assert message(lambda: read.from_file(path)).endswith(end)


@pytest.mark.parametrize(
    ("variable", "end"),
    [
        ("DEVICE", " Did you mean PTYCHO_EXEC_ACCELERATOR or PTYCHO_EXEC_N_DEVICES?"),
        ("GPUS", " Did you mean PTYCHO_EXEC_ACCELERATOR or PTYCHO_EXEC_N_DEVICES?"),
        ("BF16", " Did you mean PTYCHO_EXEC_PRECISION?"),
        ("MAX_LR_", " Did you mean PTYCHO_EXEC_LEARNING_RATE?"),
        ("EPOCHS", " Use --nepochs, or nepochs in [training] of a file."),
        ("TRAIN_DATA_FILE", " Use DATA, or train_data_file in [training] of a file."),
        ("MODEL_PATH", " Use MODEL, or model_path in [inference] of a file."),
        ("TEST_DATA_FILE", " Use --test-data-file, or test_data_file in [training] of a file."),
    ],
)
def test_a_foreign_variable_is_told_by_its_meaning(variable: str, end: str):
    environ = {f"PTYCHO_EXEC_{variable}": "1"}
    assert message(lambda: PyTorchExecutionConfig.resolve(environ=environ)).endswith(end)


def test_a_file_may_name_its_schema(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"$schema": "https://example.org/settings.json", "seed": 7}')
    assert PyTorchExecutionConfig.from_file(path).seed == 7
