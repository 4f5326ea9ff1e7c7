"""The hardware knobs, observed in real trainings of a linear model."""

import contextlib
import platform
import random
import resource
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from ptycho.config.execution import Strategy
from ptycho_torch.runtime import run_environment, trainer_arguments
from tests.torch.line import METRICS, Line, config, history, train


def arguments(tmp_path: Path, **knobs: object) -> dict[str, Any]:
    return trainer_arguments(
        config(**knobs),
        run_dir=tmp_path,
        epochs=1,
        steps_per_epoch=1,
        has_validation=True,
        logged_metrics=METRICS,
    )


@pytest.mark.parametrize(
    ("precision", "weights", "products"),
    [
        ("32-true", torch.float32, torch.float32),
        ("64-true", torch.float64, torch.float64),
        ("bf16-mixed", torch.float32, torch.bfloat16),
    ],
)
@pytest.mark.filterwarnings("ignore:Precision 64-true is not supported:UserWarning")
def test_precision_is_the_number_format(
    precision: str, weights: torch.dtype, products: torch.dtype, tmp_path: Path
):
    model = Line()
    train(tmp_path, config(precision=precision), model, epochs=1)
    assert (model.weight.dtype, model.dtypes) == (weights, {products})


def test_two_runs_of_one_seed_are_bit_equal_and_another_seed_differs(tmp_path: Path):
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        model = Line()
        train(tmp_path / str(number), config(seed=seed), model, epochs=2, batch_size=2, shuffle=True)
        weights.append(model.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("deterministic", "mode"), [(True, 2), ("warn", 1), (False, 0)])
def test_determinism_holds_inside_a_run_and_not_after_it(
    deterministic: bool | str, mode: int, tmp_path: Path
):
    class Probe(Line):
        def on_train_start(self) -> None:
            self.mode = torch.get_deterministic_debug_mode()

    model = Probe()
    train(tmp_path, config(deterministic=deterministic), model, epochs=1)
    assert model.mode == mode
    assert torch.get_deterministic_debug_mode() == 0


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), float(torch.rand(()))


def seeded_draws() -> tuple[float, float, float]:
    with run_environment(config(seed=3)):
        return draws()


ROUNDS = """
import resource
import torch
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import run_environment

def fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [torch.ones(2**20) for _ in range(12)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with run_environment(PyTorchExecutionConfig(accelerator="cpu")):
    print(fresh_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes the C library of GNU")
def test_memory_that_tensors_free_is_used_again():
    n_pages = 10 * 12 * 2**22 // resource.getpagesize()
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 0.3 * n_pages


def test_run_environment_seeds_every_generator():
    assert seeded_draws() == seeded_draws()


@pytest.mark.parametrize("wrong", [contextlib.nullcontext(), pytest.raises(ZeroDivisionError)])
def test_generators_go_on_as_if_there_had_been_no_run(wrong: contextlib.AbstractContextManager[Any]):
    first, second = seeded_draws(), None
    with run_environment(config(seed=3)):
        assert draws() == first
        with wrong, run_environment(config(seed=4)):
            assert draws() != first
            if not isinstance(wrong, contextlib.nullcontext):
                raise ZeroDivisionError
        second = draws()
    with run_environment(config(seed=3)):
        assert (draws(), draws()) == (first, second)


STRATEGIES = ["auto", "ddp", "ddp_spawn", "ddp_notebook", "ddp_find_unused_parameters_true"]


def test_every_strategy_is_one_that_lightning_knows():
    known = {*StrategyRegistry.available_strategies(), "auto"}
    assert set(typing.get_args(typing.get_args(Strategy)[0])) <= known


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_device_trains_in_this_process(strategy: str, tmp_path: Path):
    assert arguments(tmp_path, strategy=strategy)["strategy"] == "auto"


@pytest.mark.parametrize(
    ("strategy", "start_method"),
    [("auto", "popen"), ("ddp", "popen"), ("ddp_spawn", "spawn"), ("ddp_notebook", "fork")],
)
def test_several_devices_train_with_ddp(strategy: str, start_method: str, tmp_path: Path):
    built = arguments(tmp_path, strategy=strategy, n_devices=2)
    assert built["devices"] == 2
    assert isinstance(built["strategy"], DDPStrategy)
    assert built["strategy"]._start_method == start_method


@pytest.mark.parametrize(
    ("knobs", "option", "value"),
    [
        ({}, "static_graph", True),
        ({"ddp_static_graph": False}, "static_graph", False),
        ({"accum_steps": 2}, "static_graph", False),
        ({"ddp_find_unused_parameters": True}, "static_graph", False),
        ({"ddp_find_unused_parameters": True}, "find_unused_parameters", True),
        ({"strategy": "ddp_find_unused_parameters_true"}, "find_unused_parameters", True),
        ({}, "find_unused_parameters", False),
        ({}, "gradient_as_bucket_view", True),
        ({"ddp_gradient_as_bucket_view": False}, "gradient_as_bucket_view", False),
    ],
)
def test_ddp_knobs_reach_distributed_data_parallel(knobs: dict, option: str, value: bool, tmp_path: Path):
    assert arguments(tmp_path, n_devices=2, **knobs)["strategy"]._ddp_kwargs[option] is value


def test_ddp_backend_is_the_one_named(tmp_path: Path):
    assert arguments(tmp_path, n_devices=2)["strategy"].process_group_backend is None
    assert arguments(tmp_path, n_devices=2, ddp_backend="gloo")["strategy"].process_group_backend == "gloo"


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # forking beside threads, from Python 3.12
@pytest.mark.parametrize("accum_steps", [1, 2])
def test_two_processes_train_as_one_does_on_twice_the_batch(
    accum_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MASTER_PORT", str(find_free_network_port()))  # Lightning leaves the one it finds
    shared, alone = Line(), Line()
    execution = config(n_devices=2, strategy="ddp_notebook", accum_steps=accum_steps)
    trainer = train(tmp_path / "two", execution, shared, epochs=2, batch_size=4 // accum_steps)
    train(tmp_path / "one", config(), alone, epochs=2, batch_size=8)
    torch.testing.assert_close(shared.weight, alone.weight)
    assert [row["step"] for row in history(trainer)] == [1, 2]
