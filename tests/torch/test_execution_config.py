"""The execution configuration in short: names and defaults, what is optional, the repr, and the documentation."""

import re
from pathlib import Path

import pytest

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import AdditionalKnobs

ROOT = Path(__file__).parents[2]

MATRIX = {
    "accelerator": "auto",
    "strategy": "auto",
    "n_devices": 1,
    "deterministic": True,
    "num_workers": 0,
    "pin_memory": False,
    "persistent_workers": False,
    "prefetch_factor": None,
    "learning_rate": 1e-3,
    "scheduler": "Default",
    "gradient_clip_val": None,
    "accum_steps": 1,
    "enable_checkpointing": True,
    "checkpoint_save_top_k": 1,
    "checkpoint_monitor_metric": "val_loss",
    "early_stop_patience": 100,
    "enable_progress_bar": False,
    "logger_backend": None,
    "disable_mlflow": False,
    "inference_batch_size": None,
    "middle_trim": 0,
    "pad_eval": False,
}
ADDITIONS = {
    "precision": "32-true",
    "num_nodes": 1,
    "num_threads": None,
    "seed": 42,
    "gradient_clip_algorithm": "norm",
    "checkpoint_mode": "min",
    "check_val_every_n_epoch": 1,
    "save_last_checkpoint": True,
    "val_split": 0.05,
    "val_split_seed": 42,
    "drop_last_batch": False,
    "preview_every": "auto",
    "reconstruction_window": 20,
    "ddp_backend": "auto",
    "ddp_find_unused_parameters": False,
    "ddp_static_graph": True,
    "ddp_gradient_as_bucket_view": True,
}


def test_the_body_annotates_the_22_knobs_of_the_matrix():
    assert set(PyTorchExecutionConfig.__annotations__) == set(MATRIX)
    assert len(MATRIX) == 22


def test_additions_live_in_the_base_class():
    assert set(AdditionalKnobs.model_fields) == set(ADDITIONS)


def test_every_default_is_that_of_the_contract():
    assert PyTorchExecutionConfig().to_dict() == MATRIX | ADDITIONS


def test_a_default_passes_its_own_validation():
    assert PyTorchExecutionConfig(**MATRIX, **ADDITIONS) == PyTorchExecutionConfig()


@pytest.mark.parametrize(
    "name", ["prefetch_factor", "gradient_clip_val", "logger_backend", "inference_batch_size"]
)
def test_an_optional_knob_takes_none_in_every_spelling(name: str):
    for word in ("none", "NULL", " None "):
        environ = {f"PTYCHO_EXEC_{name.upper()}": word}
        assert PyTorchExecutionConfig.resolve(environ=environ).to_dict()[name] is None
    assert PyTorchExecutionConfig(**{name: None}).sources[name].kind == "argument"


def test_no_other_knob_takes_none():
    optional = {name for name, value in (MATRIX | ADDITIONS).items() if value is None}
    for name in (MATRIX | ADDITIONS).keys() - optional:
        with pytest.raises(ConfigError, match=f"^{name}: .*None from argument"):
            PyTorchExecutionConfig(**{name: None})


def test_print_gives_one_line_with_every_knob():
    config = PyTorchExecutionConfig(num_workers=2, logger_backend="csv")
    text = str(config)
    assert "\n" not in text
    assert re.findall(r"(\w+)=", text) == list(PyTorchExecutionConfig.model_fields)
    assert eval(text, {"PyTorchExecutionConfig": PyTorchExecutionConfig}) == config


def test_every_knob_has_a_help_text_and_a_group():
    groups = {"hardware", "data loading", "optimization", "checkpoints", "logging", "inference"}
    for field in PyTorchExecutionConfig.model_fields.values():
        assert field.description
        assert field.description.endswith(".")
        assert isinstance(field.json_schema_extra, dict)
        assert field.json_schema_extra["group"] in groups


@pytest.mark.parametrize("document", ["specs/override_matrix.md", "docs/settings.md"])
def test_the_documents_have_a_row_for_every_knob(document: str):
    rows = [line for line in (ROOT / document).read_text().splitlines() if line.startswith("|")]
    cells = {cell.strip(" `") for row in rows for cell in row.split("|")[1:3]}
    assert PyTorchExecutionConfig.model_fields.keys() <= cells


def test_the_documentation_of_the_class_says_who_wins():
    assert "override or a command-line flag, an argument, the environment variable" in " ".join(
        (PyTorchExecutionConfig.__doc__ or "").split()
    )
