"""Refusals before any data is read, and what this machine makes of the hardware knobs."""

import importlib.util
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runs.reconstruction import reconstruct_scans
from ptycho_torch.runtime import (
    check_reconstruction,
    check_training,
    monitored_metric,
    resolve_accelerator,
    resolve_n_devices,
)
from ptycho_torch.runtime.loggers import missing_packages
from tests.torch.factory_calls import infer, save_model, save_scan

METRICS = ("train_loss", "val_loss", "learning_rate")


def config(**knobs: object) -> PyTorchExecutionConfig:
    return PyTorchExecutionConfig(**{"accelerator": "cpu", **knobs})


def check(execution: PyTorchExecutionConfig, *, has_validation: bool = True, **training: object) -> None:
    check_training(
        execution, TrainingConfig(**training), has_validation=has_validation, logged_metrics=METRICS
    )


def refusals(execution: PyTorchExecutionConfig, **options: object) -> dict[str, str]:
    """The message of every refused knob."""
    with pytest.raises(ConfigError) as caught:
        check(execution, **options)
    for failure in caught.value.failures:
        assert failure.message.startswith(f"{failure.name}: ")
        assert failure.message.endswith(".")
    return {failure.name: failure.message for failure in caught.value.failures}


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an MPS device and no CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_default_configuration_passes_on_the_cpu():
    check(config())
    check(config(), has_validation=False)


@pytest.mark.usefixtures("no_gpu")
def test_auto_falls_back_to_the_cpu_and_warns_once_naming_the_policy():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert resolve_accelerator("auto") == "cpu"
        assert resolve_accelerator("auto") == "cpu"
        check(PyTorchExecutionConfig())
    assert [str(warning.message)[:10] for warning in heard] == ["POLICY-001"]


@pytest.mark.usefixtures("no_gpu")
def test_asking_for_the_cpu_warns_of_nothing():
    assert resolve_accelerator("cpu") == "cpu"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["auto", "gpu", "cuda"])
def test_a_gpu_is_cuda_where_there_is_one(name: str):
    assert resolve_accelerator(name) == "cuda"


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize("name", ["auto", "gpu", "mps"])
def test_a_gpu_is_mps_where_there_is_no_cuda(name: str):
    assert resolve_accelerator(name) == "mps"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["gpu", "cuda", "mps", "tpu"])
def test_an_accelerator_the_machine_lacks_is_refused_with_what_is_there(name: str):
    message = refusals(config(accelerator=name))["accelerator"]
    assert f"one that this machine has (cpu); got '{name}' from argument" in message
    assert "Choose accelerator='auto' or 'cpu'" in message
    with pytest.raises(ConfigError, match="this machine has"):
        resolve_accelerator(name)


@pytest.mark.usefixtures("no_gpu")
def test_refusal_names_the_environment_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PTYCHO_EXEC_ACCELERATOR", "cuda")
    message = refusals(PyTorchExecutionConfig())["accelerator"]
    assert "got 'cuda' from environment variable PTYCHO_EXEC_ACCELERATOR" in message


def test_auto_devices_on_the_cpu_are_one_process():
    assert resolve_n_devices(config(n_devices="auto"), "cpu") == 1
    assert resolve_n_devices(config(n_devices=3), "cpu") == 3


@pytest.mark.usefixtures("two_gpus")
def test_auto_devices_are_all_of_them():
    assert resolve_n_devices(config(n_devices="auto"), "cuda") == 2


@pytest.mark.usefixtures("two_gpus")
def test_more_devices_than_there_are_is_refused():
    check(config(accelerator="cuda", n_devices=2))
    message = refusals(config(accelerator="cuda", n_devices=3))["n_devices"]
    assert "at most 2, the number of cuda devices here; got 3" in message


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_sharded_strategies_need_cuda(strategy: str):
    assert "auto or ddp with accelerator cpu" in refusals(config(strategy=strategy, n_devices=2))["strategy"]


def test_one_mistake_is_not_told_as_two():
    found = refusals(config(strategy="fsdp", n_devices=2, gradient_clip_val=1.0, precision="64-true"))
    assert found.keys() == {"strategy"}


@pytest.mark.usefixtures("two_gpus")
def test_checkpoints_of_deepspeed_are_refused():
    found = refusals(config(accelerator="cuda", strategy="deepspeed"))
    assert "expected False with strategy deepspeed" in found["enable_checkpointing"]
    assert "enable_checkpointing" not in refusals(
        config(accelerator="cuda", strategy="deepspeed", enable_checkpointing=False)
    )


@pytest.mark.usefixtures("two_gpus")
def test_deepspeed_without_its_package_says_what_to_install():
    assert "pip install deepspeed" in refusals(config(accelerator="cuda", strategy="deepspeed"))["strategy"]


@pytest.mark.usefixtures("two_gpus")
def test_fsdp_needs_several_devices():
    check(config(accelerator="cuda", strategy="fsdp", n_devices=2))
    assert "single device" in refusals(config(accelerator="cuda", strategy="fsdp"))["strategy"]


@pytest.mark.usefixtures("two_gpus")
def test_fsdp_refuses_the_clipping_and_precision_it_lacks():
    execution = config(
        accelerator="cuda", strategy="fsdp", n_devices=2, gradient_clip_val=1.0, precision="64-true"
    )
    assert refusals(execution).keys() == {"gradient_clip_algorithm", "precision"}


def test_half_precision_is_refused_on_the_cpu():
    message = refusals(config(precision="16-mixed"))["precision"]
    assert "one that cpu supports (32-true, bf16-mixed, 64-true)" in message


@pytest.mark.usefixtures("apple")
def test_double_precision_is_refused_on_mps():
    assert "precision" in refusals(config(accelerator="mps", precision="64-true"))


def test_several_nodes_need_a_launcher(monkeypatch: pytest.MonkeyPatch):
    assert "torchrun --nnodes=2" in refusals(config(num_nodes=2))["num_nodes"]
    monkeypatch.setenv("MASTER_ADDR", "node0")
    monkeypatch.setenv("NODE_RANK", "1")
    check(config(num_nodes=2))


@pytest.mark.usefixtures("apple")
def test_several_nodes_are_refused_on_mps():
    assert "1 with accelerator mps" in refusals(config(accelerator="mps", num_nodes=2))["num_nodes"]


def test_ddp_backend_that_the_devices_lack_is_refused_where_it_is_used():
    check(config(ddp_backend="nccl"))
    message = refusals(config(ddp_backend="nccl", n_devices=2))["ddp_backend"]
    assert "one that torch offers here with accelerator cpu (auto, gloo" in message
    check(config(ddp_backend="gloo", n_devices=2))


@pytest.mark.parametrize(
    "other",
    [
        {"ddp_find_unused_parameters": True},
        {"strategy": "ddp_find_unused_parameters_true"},
        {"accum_steps": 2},
    ],
)
def test_static_graph_yields_by_default_and_contradicts_only_when_asked_for(other: dict):
    check(config(n_devices=2, **other))
    assert "ddp_static_graph" in refusals(config(n_devices=2, ddp_static_graph=True, **other))
    check(config(n_devices=2, ddp_static_graph=False, **other))


def test_interactive_session_cannot_start_a_script_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert "ddp_notebook" in refusals(config(n_devices=2, strategy="ddp"))["strategy"]
    check(config(n_devices=2, strategy="ddp_notebook"))
    check(config(n_devices=2))


@pytest.mark.parametrize(("backend", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_missing_logger_names_the_extra(backend: str, package: str, monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    message = refusals(config(logger_backend=backend))["logger_backend"]
    assert f"pip install '.[{backend}]'" in message


def test_missing_mlflow_is_no_matter_when_it_is_disabled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "mlflow" in refusals(config(logger_backend="mlflow"))["logger_backend"]
    check(config(logger_backend="mlflow", disable_mlflow=True))


def test_mlflow_server_needs_no_database_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "mlflow" else None)
    assert "sqlalchemy" in refusals(config(logger_backend="mlflow"))["logger_backend"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert missing_packages(config(logger_backend="mlflow")) == []


def test_validation_loss_means_training_loss_without_validation_data():
    assert monitored_metric(config(), has_validation=True, logged_metrics=METRICS) == "val_loss"
    assert monitored_metric(config(), has_validation=False, logged_metrics=METRICS) == "train_loss"


def test_metric_that_is_not_logged_is_refused_with_those_that_are():
    message = refusals(config(checkpoint_monitor_metric="val_mae"))["checkpoint_monitor_metric"]
    assert "(learning_rate, train_loss, val_loss); got 'val_mae'" in message
    execution = config(checkpoint_monitor_metric="val_mae")
    with pytest.raises(ConfigError, match=r"without validation data \(learning_rate, train_loss\)"):
        monitored_metric(execution, has_validation=False, logged_metrics=METRICS)


def test_validation_that_would_never_happen_is_refused():
    execution = config(check_val_every_n_epoch=5)
    assert (
        "at most nepochs, the number of epochs, 3"
        in refusals(execution, nepochs=3)["check_val_every_n_epoch"]
    )
    check(execution, nepochs=5)
    check(execution, nepochs=3, has_validation=False)


def test_all_refusals_come_together():
    execution = config(
        precision="16-mixed", strategy="fsdp", checkpoint_monitor_metric="x", scheduler="Adaptive"
    )
    refused = refusals(execution, lr_warmup_epochs=2)
    assert refused.keys() == {
        "precision",
        "strategy",
        "checkpoint_monitor_metric",
        "training.lr_warmup_epochs",
    }


def test_reconstruction_is_not_asked_for_training_metrics():
    check_reconstruction(config(checkpoint_monitor_metric="x"), InferenceConfig())
    with pytest.raises(ConfigError, match="precision"):
        check_reconstruction(config(precision="16-mixed"), InferenceConfig())


@pytest.mark.usefixtures("legacy", "no_gpu")
@pytest.mark.parametrize(("knob", "value"), [("accelerator", "cuda"), ("precision", "16-mixed")])
def test_a_reconstruction_that_cannot_be_run_here_is_refused_before_model_and_data_are_read(
    knob: str, value: str, tmp_path: Path
):
    model, scan = save_model(tmp_path / "run", N=64), save_scan(tmp_path / "scan.npz")
    payload = infer(model, scan, execution_config=config(**{knob: value}))
    shutil.rmtree(model)
    scan.unlink()
    with pytest.raises(ConfigError, match=f"^{knob}: expected one that"):
        reconstruct_scans(payload)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_gpu")
def test_pinned_memory_without_an_accelerator_warns_once():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        check(config(pin_memory=True))
        check_reconstruction(config(pin_memory=True), InferenceConfig())
    assert [str(warning.message)[:10] for warning in heard] == ["pin_memory"]
