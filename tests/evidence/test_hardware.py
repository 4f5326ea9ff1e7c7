"""Devices, number formats and determinism, seen from inside a training."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.config.errors import ConfigError
from tests.evidence.observed import note_process, observed, run
from tests.torch.line import Line, config
from tests.torch.line import train as train_line

pytestmark = pytest.mark.integration

TWO = {"n_devices": 2, "strategy": "ddp_notebook", "ddp_static_graph": False}
"""Two processes that are copies of this one, and so may hold what a test defines."""
forked = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12


@pytest.fixture(autouse=True)
def _own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning leaves the port it finds to the next run."""
    monkeypatch.setenv("MASTER_PORT", str(find_free_network_port()))


@pytest.mark.proves("accelerator", seen="one that the machine lacks is refused before the folder is made")
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_accelerator_is_the_one_named(name: str, tiny_file: Path, tmp_path: Path) -> None:
    available = torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()
    if available:
        seen = observed(tiny_file, tmp_path, accelerator=name)
        assert {value.device.type for value in seen.weights[-1].values()} == {name}
        return
    with pytest.raises(ConfigError, match=f"accelerator: expected one that this machine has .*'{name}'"):
        run(tiny_file, tmp_path / "run", accelerator=name)
    assert not (tmp_path / "run").exists()


class Threads(Callback):
    """Notes with how many threads a training computes."""

    seen: int

    def on_train_batch_end(self, *_: object) -> None:
        self.seen = torch.get_num_threads()


@pytest.mark.proves(
    "num_threads", seen="a training computes with this many threads, and puts their number back"
)
def test_a_training_computes_with_as_many_threads(tiny_file: Path, tmp_path: Path) -> None:
    before, threads = torch.get_num_threads(), Threads()
    run(tiny_file, tmp_path / "run", threads, num_threads=before + 2, nepochs=1)
    assert threads.seen == before + 2
    assert torch.get_num_threads() == before


@forked
@pytest.mark.proves("n_devices", seen="two processes train, each on half of the groups")
@pytest.mark.proves("strategy", seen="ddp_notebook makes them copies of this process")
def test_devices_are_processes(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a session without a program that could be started again for the second device
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["no such file"])
    notes = tmp_path / "notes"
    notes.mkdir()
    run(tiny_file, tmp_path / "run", note_process(notes), **TWO, nepochs=1)
    names = [path.name.split("-") for path in notes.iterdir()]
    processes = {process for process, *_ in names}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    assert sorted(batch for _, _, batch in names) == ["0", "0", "1", "1"]


class Idle(Line):
    """Has a parameter that no step uses."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = torch.nn.Parameter(torch.zeros(3))


@forked
@pytest.mark.proves(
    "ddp_find_unused_parameters",
    seen="a model with a parameter that gets no gradient trains, which otherwise fails",
)
@pytest.mark.proves("ddp_static_graph", seen="the same, since the first step shows which parameters are used")
@pytest.mark.parametrize(("find", "static"), [(True, False), (False, True), (False, False)])
def test_parameters_without_gradient(find: bool, static: bool, tmp_path: Path) -> None:
    knobs = TWO | {"ddp_static_graph": static, "ddp_find_unused_parameters": find}
    model = Idle()
    if find or static:
        train_line(tmp_path, config(**knobs), model, epochs=2, batch_size=2)
        assert model.weight.abs().min() > 0
        return
    with pytest.raises(Exception, match="has parameters that were not used in producing the loss"):
        train_line(tmp_path, config(**knobs), model, epochs=2, batch_size=2)


@forked
@pytest.mark.proves(
    "ddp_gradient_as_bucket_view", seen="gradients share the memory they are sent from, or have their own"
)
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_share_their_memory(shared: bool, tiny_file: Path, tmp_path: Path) -> None:
    class Memory(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
            gradients = [value.grad for value in module.parameters() if value.grad is not None]
            own = {gradient.untyped_storage().data_ptr() for gradient in gradients}
            found = "shared" if len(own) < len(gradients) else "own"
            (tmp_path / found).touch()

    run(tiny_file, tmp_path / "run", Memory(), **TWO, nepochs=1, ddp_gradient_as_bucket_view=shared)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "shared" if shared else "own"}


@forked
@pytest.mark.proves(
    "ddp_backend", seen="processes talk through the backend named; one that is not there is refused"
)
def test_processes_talk_through_the_backend_named(tiny_file: Path, tmp_path: Path) -> None:
    class Backend(Callback):
        def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
            (tmp_path / torch.distributed.get_backend()).touch()

    run(tiny_file, tmp_path / "run", Backend(), **TWO, nepochs=1, ddp_backend="gloo")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "gloo"}
    with pytest.raises(ConfigError, match=r"ddp_backend: expected one that torch offers here .*'nccl'"):
        run(tiny_file, tmp_path / "other", **TWO, ddp_backend="nccl")


class Formats(Callback):
    """The number format of the weights, and of what a convolution gives in training."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        convolution = next(part for part in module.modules() if isinstance(part, torch.nn.Conv2d))
        self.weights = convolution.weight.dtype
        convolution.register_forward_hook(self.note)

    def note(self, part: Any, inputs: Any, output: torch.Tensor) -> None:
        if part.training:
            self.products = output.dtype


FORMATS = {
    "32-true": (torch.float32, torch.float32),
    "64-true": (torch.float64, torch.float64),
    "bf16-mixed": (torch.float32, torch.bfloat16),
}


@pytest.mark.proves("precision", seen="the number formats of weights and of convolutions are those named")
@pytest.mark.parametrize("precision", FORMATS)
def test_precision_is_the_number_format(precision: str, tiny_file: Path, tmp_path: Path) -> None:
    formats = Formats()
    run(tiny_file, tmp_path, formats, precision=precision, nepochs=1)
    assert (formats.weights, formats.products) == FORMATS[precision]


class Undecided(Callback):
    """Does what torch cannot do in a way that repeats."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


@pytest.mark.proves(
    "deterministic", seen="two runs have bit-equal weights; an operation that may differ is refused"
)
def test_runs_repeat(tiny_file: Path, tmp_path: Path) -> None:
    first, again = (observed(tiny_file, tmp_path / name) for name in "ab")
    assert all(torch.equal(again.weights[-1][name], weight) for name, weight in first.weights[-1].items())
    with pytest.raises(RuntimeError, match=r"put_ .*does not have a deterministic implementation"):
        run(tiny_file, tmp_path / "c", Undecided(), nepochs=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(tiny_file, tmp_path / "d", Undecided(), nepochs=1, deterministic=False)
        assert not said
        run(tiny_file, tmp_path / "e", Undecided(), nepochs=1, deterministic="warn")
    assert ["put_" in str(one.message) for one in said] == [True]


@pytest.mark.proves(
    "seed", seen="another seed gives other first weights and another order of the same groups"
)
def test_seed_decides_weights_and_order(tiny_file: Path, tmp_path: Path) -> None:
    name = "model.network.unets.0.encoder.0.0.weight"
    first, again, other = (
        observed(tiny_file, tmp_path / f"{number}", seed=seed, subsample_seed=5, nepochs=2)
        for number, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(first.start[name], again.start[name])
    assert not torch.equal(first.start[name], other.start[name])
    assert first.trained == again.trained
    orders = [[place for batch in epoch for place in batch] for epoch in first.trained + other.trained]
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(order) for order in orders}) == 4
