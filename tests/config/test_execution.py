"""The knobs: ranges, types and words."""

import math
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from tests.refusals import refused

ACCEPTED: dict[str, list[Any]] = {
    "accelerator": ["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "strategy": [
        "auto",
        "ddp",
        "ddp_spawn",
        "ddp_notebook",
        "ddp_find_unused_parameters_true",
        "fsdp",
        "deepspeed",
    ],
    "n_devices": [1, 8, "auto"],
    "deterministic": [True, False, "warn"],
    "num_workers": [0, 16],
    "learning_rate": [1e-300, 1, 3.5],
    "scheduler": ["Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"],
    "gradient_clip_val": [None, 0.5],
    "accum_steps": [1, 32],
    "checkpoint_save_top_k": [-1, 0, 3],
    "early_stop_patience": [1],
    "logger_backend": [None, "csv", "tensorboard", "wandb", "mlflow"],
    "inference_batch_size": [None, 1],
    "middle_trim": [0, 64],
    "precision": ["32-true", "16-mixed", "bf16-mixed", "64-true"],
    "seed": [0, 2**32 - 1],
    "val_split": [0, 0.5],
    "gradient_clip_algorithm": ["norm", "value"],
    "ddp_backend": ["auto", "nccl", "gloo", "mpi"],
}
REFUSED: dict[str, list[Any]] = {
    "accelerator": ["fpga", "", 0, None],
    "strategy": ["dp", None],
    "n_devices": [0, -1, 1.0, True, "2", "all", None],
    "deterministic": [1, 0, "yes", None],
    "num_workers": [-1, 0.0, True, "3", math.nan, None, [1], 1 << 63, 10**5000],
    "pin_memory": [1, "true", None],
    "prefetch_factor": [0, False, "none"],
    "learning_rate": [0, -1e-3, math.nan, math.inf, -math.inf, "1e-3", True, None, 10**400, 1j],
    "scheduler": ["Linear", 0],
    "gradient_clip_val": [0.0, math.inf, False],
    "accum_steps": [0, 2.0],
    "checkpoint_save_top_k": [-2, True],
    "checkpoint_monitor_metric": ["", "  ", "two\nlines", "\udcff", 3, None],
    "early_stop_patience": [0],
    "logger_backend": ["comet", False],
    "inference_batch_size": [0],
    "middle_trim": [-1],
    "seed": [-1, 2**32],
    "val_split": [1, -0.1, math.nan],
    "check_val_every_n_epoch": [0],
    "reconstruction_window": [-1],
}
OTHERS_NEEDED = {"prefetch_factor": {"num_workers": 1}}


def cases(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), cases(ACCEPTED))
def test_a_value_in_range_is_accepted(name: str, value: Any):
    config = PyTorchExecutionConfig(**{name: value})
    assert config.to_dict()[name] == value


@pytest.mark.parametrize(("name", "value"), cases(REFUSED), ids=lambda case: str(type(case).__name__))
def test_a_value_out_of_range_or_of_another_type_is_refused(name: str, value: Any):
    wrong = refused(lambda: PyTorchExecutionConfig(**{name: value}, **OTHERS_NEEDED.get(name, {})))
    assert wrong == [(name, "argument")]


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), np.int32(3)])
def test_a_numpy_integer_is_an_integer(value: Any):
    stored = PyTorchExecutionConfig(num_workers=value).num_workers
    assert stored == 3
    assert type(stored) is int


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), Fraction(1, 2)])
def test_a_numpy_float_is_a_float(value: Any):
    stored = PyTorchExecutionConfig(learning_rate=value).learning_rate
    assert stored == 0.5
    assert type(stored) is float


def test_a_numpy_bool_is_a_bool_and_no_integer():
    assert PyTorchExecutionConfig(pin_memory=np.True_).pin_memory is True
    assert refused(lambda: PyTorchExecutionConfig(num_workers=np.True_)) == [("num_workers", "argument")]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("num_workers", 10**30, f"an integer >= 0 (at most {2**63 - 1})"),
        ("n_devices", 2**63, f"an integer >= 1 or auto (at most {2**63 - 1})"),
        ("seed", 10**30, f"an integer >= 0 and <= {2**32 - 1}"),
        ("num_workers", -(10**30), "an integer >= 0"),
        ("learning_rate", 10**400, "a finite number > 0"),
        (
            "checkpoint_monitor_metric",
            "a\nb",
            "a line of text that is not empty (printable)",
        ),
        ("checkpoint_monitor_metric", "\n", "a line of text that is not empty"),
    ],
)
def test_the_rule_that_is_broken_is_in_the_message(name: str, value: Any, rule: str):
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}: expected {rule}; got ")


class Convertible:
    """Python converts it, and loses what it was."""

    def __float__(self) -> float:
        return 0.5

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "name", ["num_workers", "learning_rate", "val_split", "n_devices", "gradient_clip_val"]
)
@pytest.mark.parametrize(
    "value",
    [
        np.array([3]),
        np.array("0.5 "),
        np.array(True),
        np.complex64(0.5 + 3j),
        np.timedelta64(3, "s"),
        Decimal("0.5"),
        Convertible(),
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}"[:24],
)
def test_what_would_have_to_be_converted_is_no_scalar(name: str, value: Any):
    with pytest.raises(ConfigError, match=f"^{name}: "):
        PyTorchExecutionConfig(**{name: value})
    with pytest.raises(ConfigError, match=f"^{name}: "):
        PyTorchExecutionConfig.resolve(overrides={name: 1}, arguments={name: value}, environ={})


def test_text_of_a_mapping_of_strings_is_read_by_pydantic_too():
    texts = {
        "num_workers": " 3 ",
        "pin_memory": "Yes",
        "learning_rate": "5e-4",
        "scheduler": "cosine",
        "n_devices": "2",
    }
    config = TypeAdapter(PyTorchExecutionConfig).validate_strings(texts)
    assert config == PyTorchExecutionConfig(
        num_workers=3, pin_memory=True, learning_rate=5e-4, scheduler="WarmupCosine", n_devices=2
    )
    with pytest.raises(ValidationError, match="learning_rate"):
        TypeAdapter(PyTorchExecutionConfig).validate_strings({"learning_rate": "fast"})


@pytest.mark.parametrize("value", [np.array(3), np.array(3.0), np.array("3")[()], np.array(True)])
def test_an_array_of_one_value_is_that_value(value: Any):
    plain = value.item()
    for name in ("num_workers", "learning_rate", "pin_memory"):
        outcomes = []
        for given in (value, plain):
            try:
                outcomes.append(PyTorchExecutionConfig(**{name: given}).to_dict()[name])
            except ConfigError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


def test_enum_members_become_plain_scalars():
    class Workers(IntEnum):
        FEW = 2

    class Device(StrEnum):
        CPU = "cpu"

    config = PyTorchExecutionConfig(num_workers=Workers.FEW, accelerator=Device.CPU)
    assert [type(config.num_workers), type(config.accelerator)] == [int, str]
    assert (config.num_workers, config.accelerator) == (2, "cpu")


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("accelerator", "GPU", "gpu"),
        ("scheduler", "multistage", "MultiStage"),
        ("scheduler", "ReduceLROnPlateau", "Adaptive"),
        ("scheduler", "cosine", "WarmupCosine"),
        ("logger_backend", "none", None),
        ("deterministic", "Warn", "warn"),
        ("n_devices", "AUTO", "auto"),
    ],
)
def test_a_word_is_matched_without_regard_to_case(name: str, written: str, value: Any):
    assert PyTorchExecutionConfig(**{name: written}).to_dict()[name] == value


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("devices", "n_devices", 2),
        ("accumulate_grad_batches", "accum_steps", 4),
        ("max_lr", "learning_rate", 0.5),
        ("lr", "learning_rate", 0.5),
        ("logger", "logger_backend", "csv"),
    ],
)
def test_an_old_name_sets_the_knob_and_says_the_new_name(old: str, new: str, value: Any):
    with pytest.warns(DeprecationWarning, match=rf"^{old}\b.*\b{new}\.$"):
        config = PyTorchExecutionConfig(**{old: value})
    assert config.to_dict()[new] == value
    assert config.sources[new].locator == old


def test_the_warning_of_an_old_name_points_at_the_caller():
    with pytest.warns(DeprecationWarning, match="devices") as caught:
        PyTorchExecutionConfig(devices=2)
    assert caught[0].filename == __file__


def test_the_warning_of_an_old_name_points_past_pydantic():
    class Holder(BaseModel):
        execution: PyTorchExecutionConfig

    class Application(BaseSettings):
        execution: PyTorchExecutionConfig

    for use in (
        lambda: Application(execution={"devices": 2}),
        lambda: Holder.model_validate({"execution": {"devices": 2}}),
        lambda: Holder(execution={"devices": 2}),
        lambda: TypeAdapter(PyTorchExecutionConfig).validate_python({"devices": 2}),
        lambda: PyTorchExecutionConfig.model_validate({"devices": 2}, strict=True),
    ):
        with pytest.warns(DeprecationWarning, match="devices") as caught:
            use()
        assert {warning.filename for warning in caught} == {__file__}


def test_an_old_name_beside_the_new_one_is_refused():
    with pytest.raises(ConfigError, match=r"^n_devices: given twice, as n_devices and as devices\."):
        PyTorchExecutionConfig(n_devices=2, devices=2)


@pytest.mark.parametrize(("name", "value"), [("persistent_workers", True), ("prefetch_factor", 2)])
def test_a_knob_of_loading_processes_needs_some(name: str, value: Any):
    wrong = refused(lambda: PyTorchExecutionConfig(**{name: value}))
    assert wrong == [(name, "argument", "default")]
    assert PyTorchExecutionConfig(**{name: value, "num_workers": 1}).to_dict()[name] == value


def test_the_schema_completes_words_and_checks_ranges():
    schema = PyTorchExecutionConfig.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == PyTorchExecutionConfig.model_fields.keys()
    assert schema["properties"]["accelerator"]["enum"] == ACCEPTED["accelerator"]
    assert schema["properties"]["num_workers"]["minimum"] == 0
    assert schema["properties"]["learning_rate"]["exclusiveMinimum"] == 0
