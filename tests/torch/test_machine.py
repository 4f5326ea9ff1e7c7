"""What a machine lacks is said with the way out, by a run that is refused and by what the machine offers alike."""

import importlib.util
import multiprocessing
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from ptycho.config.canonical import TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import check_training
from ptycho_torch.runtime.offers import accelerator_offers, machine, offers
from ptycho_torch.simulate import simulate_scan

METRICS = ("train_loss", "val_loss")
SCRIPT = """
import sys
from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho_torch.runs.training import train
from ptycho_torch.config_factory import training_payload_of
from ptycho.config.execution import PyTorchExecutionConfig
knobs = PyTorchExecutionConfig(accelerator="cpu", n_devices=2, strategy=sys.argv[1])
try:
    train(training_payload_of(TrainingConfig(train_data_file="scan.npz", model=ModelConfig(N=32)), knobs))
except (ValueError, OSError) as error:
    print(type(error).__name__, error)
"""


def refusals(training: TrainingConfig | None = None, **knobs: object) -> dict[str, str]:
    """Knob -> message of a run that is refused."""
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", **knobs})
    with pytest.raises(ConfigError) as caught:
        check_training(execution, training or TrainingConfig(), has_validation=True, logged_metrics=METRICS)
    return dict(caught.value.failures)


def passes(**knobs: object) -> None:
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", **knobs})
    check_training(execution, TrainingConfig(), has_validation=True, logged_metrics=METRICS)


@pytest.fixture(autouse=True)
def _a_script_without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [__file__])


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("name", "attribute", "value", "cure"),
    [
        ("cuda", "version.cuda", None, "install a build of torch that finds GPUs; this one"),
        ("gpu", "version.cuda", None, "install a build of torch that finds GPUs; this one"),
        (
            "cuda",
            "version.cuda",
            "12.8",
            "look at the driver and at CUDA_VISIBLE_DEVICES: torch finds no GPU",
        ),
        ("mps", "backends.mps.is_built", lambda: False, "install a build of torch for Apple silicon"),
        ("mps", "backends.mps.is_built", lambda: True, "run on Apple silicon with macOS 12.3 or newer"),
        ("tpu", "version.cuda", None, "install torch_xla on a machine with a TPU"),
    ],
)
def test_a_missing_accelerator_is_refused_with_what_would_bring_it(
    name: str, attribute: str, value: object, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"torch.{attribute}", value)
    message = refusals(accelerator=name)["accelerator"]
    assert "one that this machine has (cpu); got" in message
    assert f"Choose accelerator='auto' or 'cpu', or {cure}" in message


@pytest.mark.parametrize(
    ("knobs", "refused", "cure"),
    [
        ({"precision": "16-mixed"}, "precision", "Choose one of these, or another accelerator."),
        (
            {"strategy": "deepspeed", "n_devices": 2},
            "strategy",
            "Set strategy='auto', or run on CUDA devices.",
        ),
        ({"ddp_backend": "nccl", "n_devices": 2}, "ddp_backend", "nccl needs a GPU."),
        ({"num_nodes": 2}, "num_nodes", "Start it with torchrun --nnodes=2 or srun"),
    ],
)
def test_what_a_cpu_lacks_is_refused_with_the_way_out(knobs: dict, refused: str, cure: str) -> None:
    message = refusals(**knobs)[refused]
    assert f"got {next(iter(knobs.values()))!r} from argument" in message
    assert cure in message


def test_a_process_group_backend_that_torch_was_built_without_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.distributed, "is_mpi_available", lambda: False)
    message = refusals(ddp_backend="mpi", n_devices=2)["ddp_backend"]
    assert "Choose one of these or n_devices=1; mpi needs a build of torch that has it." in message
    monkeypatch.setattr(torch.distributed, "is_mpi_available", lambda: True)
    passes(ddp_backend="mpi", n_devices=2)


@pytest.mark.usefixtures("two_gpus")
def test_too_few_devices_are_refused_with_their_number() -> None:
    message = refusals(accelerator="cuda", n_devices=3)["n_devices"]
    assert message == (
        "n_devices: expected at most 2, the number of cuda devices here; got 3 from argument. "
        "Lower it, or set n_devices='auto'."
    )


def test_forking_is_refused_where_the_system_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    message = refusals(strategy="ddp_notebook", n_devices=2)["strategy"]
    assert "Run a script with strategy='ddp', or set n_devices=1." in message
    passes(strategy="ddp_notebook", n_devices=1)


@pytest.mark.usefixtures("two_gpus")
def test_forking_a_process_that_has_used_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    passes(accelerator="cuda", strategy="ddp_notebook", n_devices=2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert (
        "has used CUDA already"
        in refusals(accelerator="cuda", strategy="ddp_notebook", n_devices=2)["strategy"]
    )


def test_a_program_without_a_file_cannot_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    for strategy in ("ddp", "auto"):
        message = refusals(strategy=strategy, n_devices=2)["strategy"]
        assert "ddp_spawn or ddp_notebook, since there is no script file to start again" in message
    passes(n_devices=1)


def test_starting_empty_processes_needs_the_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    passes(strategy="ddp_spawn", n_devices=2)
    monkeypatch.setattr(main, "__file__", "<stdin>", raising=False)
    assert "a program read from standard input" in refusals(strategy="ddp_spawn", n_devices=2)["strategy"]


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_a_daemonic_process_starts_no_others(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    found = refusals(strategy=strategy, n_devices=2, num_workers=1)
    assert "in a daemonic process" in found["strategy"]
    assert "Set num_workers=0, or run in a separate process." in found["num_workers"]


@pytest.mark.combinations
@pytest.mark.parametrize(
    ("how", "strategy", "said"),
    [
        ("stdin", "ddp", "there is no script file to start again"),
        ("stdin", "ddp_spawn", "a program read from standard input"),
        ("-c", "ddp", "there is no script file to start again"),
        ("file", "ddp_spawn", "a script that trains as soon as it is imported"),
        ("file", "ddp", "FileNotFoundError"),
        ("-c", "ddp_spawn", "FileNotFoundError"),
        ("stdin", "ddp_notebook", "FileNotFoundError"),
    ],
)
def test_a_real_program_is_told(how: str, strategy: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(SCRIPT)
    if (how, strategy) == ("file", "ddp_spawn"):  # the processes that are started are those that are refused
        simulate_scan(N=32, n_positions=24).to_file(tmp_path / "scan.npz")
    command = {"stdin": ["-"], "-c": ["-c", SCRIPT], "file": ["bare.py"]}[how]
    done = subprocess.run(
        [sys.executable, *command, strategy],
        input=SCRIPT if how == "stdin" else None,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert said in done.stdout, done.stderr


def test_too_few_groups_for_a_full_batch_on_each_device_are_refused() -> None:
    training = TrainingConfig(n_groups=10, batch_size=6)
    check_training(
        PyTorchExecutionConfig(accelerator="cpu", drop_last_batch=True),
        training,
        has_validation=True,
        logged_metrics=METRICS,
    )
    message = refusals(training, drop_last_batch=True, n_devices=2)["drop_last_batch"]
    assert "n_groups 10, shared by all devices (n_devices), make no full batch of batch_size 6" in message


# What a machine offers


@pytest.mark.filterwarnings("ignore:POLICY-001")
def test_what_is_offered_is_what_a_run_is_not_refused_for() -> None:
    offered = {"accelerator": accelerator_offers(), **offers("cpu")}
    for knob, answers in offered.items():
        several = {"n_devices": 2} if knob in ("strategy", "ddp_backend") else {}
        for text, against in answers.items():
            knobs = {knob: {"True": True}.get(text, int(text) if text.isdigit() else text), **several}
            if against is None:
                passes(**knobs)
            elif against.verdict == "no effect":
                with pytest.warns(UserWarning, match=f"^{knob}: "):
                    passes(**knobs)
            else:
                assert refusals(**knobs)[knob] == against.message


def test_a_package_that_is_missing_is_missed_by_the_offers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name)
    )
    against = offers("cpu")["logger_backend"]["tensorboard"]
    assert against is not None
    assert "pip install '.[tensorboard]'" in against.message


@pytest.mark.usefixtures("two_gpus")
def test_gpus_bring_their_precisions_and_strategies() -> None:
    assert accelerator_offers()["cuda"] is None
    assert accelerator_offers()["mps"] is not None
    offered = offers("cuda")
    assert offered["precision"]["16-mixed"] is None
    assert offered["strategy"]["fsdp"] is None
    assert offered["n_devices"]["2"] is None
    assert offered["pin_memory"]["True"] is None
    assert offers("cpu")["strategy"]["fsdp"] is not None


def test_a_machine_is_told_by_versions_cores_and_devices() -> None:
    found = machine()
    assert found.versions["torch"] == version("torch")
    assert {"python", "ptychopinn", "lightning", "pydantic", "numpy"} <= found.versions.keys()
    assert found.cpu_cores >= 1
    assert found.accelerators == {"cpu": []}
