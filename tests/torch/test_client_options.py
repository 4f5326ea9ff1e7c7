"""What the fields do that only callers of the backend's classes set: attention, losses, data options, stages."""

import dataclasses
import gc
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.config.errors import ConfigError
from ptycho.raw_data import RawData
from ptycho.run_folder import RunFolder
from ptycho_torch import losses
from ptycho_torch.api.base_api import PtychoModel
from ptycho_torch.api.base_api import Trainer as Door
from ptycho_torch.config_params import DataConfig, ModelConfig
from ptycho_torch.data.options import scaled_to_peak, with_probe_options, without_ramp
from ptycho_torch.fine_tuning import PARTS, parts
from ptycho_torch.forward_model import PtychoPINN, build_network, outer_band
from ptycho_torch.lightning_utils import find_best_checkpoint
from ptycho_torch.model import PtychoPINN_Lightning
from tests.torch.client import SMALL, door, opened
from tests.torch.conftest import N

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]


def network(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(ModelConfig(**SMALL, **options), N)


def output(**options: Any) -> torch.Tensor:
    built = network(**options)
    for head in (module for name, module in built.named_modules() if name.endswith("head")):
        torch.nn.init.normal_(head.weight, std=0.3)
    torch.manual_seed(1)
    return built.unets[0](torch.randn(3, 4, N, N))


GATES = {
    "cbam_encoder": ("gates.0", "gates.1"),
    "cbam_bottleneck": ("bottleneck_gate",),
    "cbam_decoder": ("decoders.0.gates.0", "decoders.0.gates.1"),
    "eca_encoder": ("gates.0", "gates.1"),
    "eca_decoder": ("decoders.0.gates.0", "decoders.0.gates.1"),
    "spatial_decoder": ("decoders.0.gates.0", "decoders.0.gates.1"),
}


@pytest.mark.parametrize("option", GATES)
def test_attention_weights_the_features_of_its_place_and_learns(option: str) -> None:
    plain, built = network(), network(**{option: True})
    added = set(dict(built.named_parameters())) - set(dict(plain.named_parameters()))
    places = {name.removeprefix("unets.0.").rpartition(".")[0].rpartition(".")[0] for name in added}
    assert all(any(place.startswith(expected) for expected in GATES[option]) for place in places)
    assert added
    seen: list[float] = []

    def note(gate: torch.nn.Module, inputs: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
        share = (result / inputs[0]).detach()[inputs[0].abs() > 1e-3]
        seen.extend((float(share.min()), float(share.max())))

    for place in GATES[option]:
        built.get_submodule(f"unets.0.{place}").register_forward_hook(note)
    built.unets[0](torch.randn(2, 4, N, N)).square().sum().backward()
    assert 0 < min(seen) < max(seen) < 1
    assert all(dict(built.named_parameters())[name].grad is not None for name in added)


def test_kernel_of_spatial_attention_is_the_one_asked_for() -> None:
    built = network(spatial_decoder=True, decoder_spatial_kernel=5)
    assert built.unets[0].decoders[0].gates[0][0].convolution.weight.shape[-2:] == (5, 5)


def test_batch_norm_couples_the_patterns_of_a_batch() -> None:
    image = torch.randn(2, 4, N, N)
    for batch_norm in (False, True):
        unet = network(batch_norm=batch_norm).unets[0].train()
        alone, together = unet(image[:1]), unet(torch.cat([image[:1], 5 * image[1:]]))[:1]
        assert torch.allclose(alone, together, atol=1e-7) is not batch_norm


def test_decoders_of_their_own_do_not_share_gradients() -> None:
    unet = network(use_shared_decoder=False).unets[0]
    unet(torch.randn(1, 4, N, N))[:, 1].square().sum().backward()  # the phase alone
    amplitude, phase = unet.decoders
    assert all(value.grad is None or not value.grad.any() for value in amplitude.parameters())
    assert any(value.grad is not None and value.grad.any() for value in phase.parameters())


@pytest.mark.parametrize("shared", [True, False])
def test_part_of_the_channels_can_predict_the_outer_band(shared: bool) -> None:
    fraction = {"decoder_last_c_outer_fraction": 0.25, "use_shared_decoder": shared, "edge_pad": 6}
    assert outer_band(ModelConfig(**fraction), N) == 6
    patch = torch.ones(3, N, N, dtype=torch.complex64)
    for options, moved in ((fraction, True), (fraction | {"decoder_last_c_outer_fraction": 0.0}, False)):
        built = network(**options)
        corrected = built.correction(patch, output(**options))
        inner, band = corrected[:, 6:-6, 6:-6], corrected[:, :6]
        assert (inner - 1).abs().max() > 1e-3
        assert ((band - 1).abs().max() > 1e-3) == moved


STEP = torch.ones(1, 4, 4, dtype=torch.complex128)
STEP[:, :, 2:] = 3.0


def test_smoothness_of_the_amplitude_by_hand() -> None:
    assert losses.amplitude_smoothness(STEP, "Total_Variation").item() == pytest.approx(2 / 3)
    assert losses.amplitude_smoothness(STEP, "Mean_Deviation").item() == pytest.approx(1)
    assert losses.amplitude_variance(STEP).item() == pytest.approx(1)


def test_smoothness_of_the_phase_does_not_see_wraps() -> None:
    angle = torch.tensor([3.0, 3.1, -3.1, -3.0], dtype=torch.float64).expand(1, 4, 4)
    patch = torch.polar(torch.ones_like(angle), angle)
    step = (0.1 + (2 * np.pi - 6.2) + 0.1) / 3
    assert losses.phase_smoothness(patch, "Total_Variation").item() == pytest.approx(step)
    assert losses.phase_smoothness(STEP, "Total_Variation").item() == 0
    deviation = np.mean([np.pi - 3.0, np.pi - 3.1])
    assert losses.phase_smoothness(patch, "Mean_Deviation").item() == pytest.approx(deviation)


def test_ramp_of_a_probe_is_removed(tiny_scan: RawData) -> None:
    place = np.arange(N)
    tilted = tiny_scan.probe * np.exp(2j * np.pi * (3 * place[:, None] - 5 * place) / N)
    freed = without_ramp(tilted.astype(np.complex64))
    np.testing.assert_allclose(np.abs(freed), np.abs(tilted), rtol=1e-4, atol=1e-3)
    power = np.fft.fftshift(np.square(np.abs(np.fft.fft2(freed))).sum(axis=0))
    centre = [(power * axis).sum() / power.sum() for axis in np.mgrid[:N, :N]]
    assert centre == pytest.approx([N / 2, N / 2], abs=0.6)


def test_probe_is_scaled_to_the_peak_of_the_patterns(tiny_scan: RawData) -> None:
    probe = scaled_to_peak(7 * tiny_scan.probe, tiny_scan)
    peak = np.square(np.abs(np.fft.fft2(probe, norm="ortho"))).sum(axis=0).max()
    mean = np.square(tiny_scan.amplitude(np.arange(0, 70)), dtype=np.float64).mean(axis=0).max()
    assert peak == pytest.approx(mean, rel=0.05)
    assert with_probe_options(tiny_scan, DataConfig()) is tiny_scan


def model(tiny_scan: RawData, data: dict[str, Any] | None = None, **options: Any) -> PtychoPINN:
    return PtychoPINN(
        ModelConfig(**SMALL, **options),
        DataConfig(N=N, **data or {}),
        torch.from_numpy(tiny_scan.probe)[None],
    )


def test_units_of_the_network_are_photons_where_asked_for(tiny_scan: RawData) -> None:
    normalized, photons = (model(tiny_scan, {"probe_normalize": on}) for on in (True, False))
    assert torch.view_as_complex(normalized.probe).abs().max() <= 4.0 + 1e-4
    torch.testing.assert_close(
        torch.view_as_complex(photons.probe.data)[0], torch.from_numpy(tiny_scan.probe)
    )
    torch.testing.assert_close(normalized.probes(), photons.probes(), rtol=1e-4, atol=1e-2)


def test_intensity_scale_is_where_the_factor_starts(tiny_scan: RawData) -> None:
    assert model(tiny_scan, intensity_scale=20000.0).log_intensity_scale.exp().item() == pytest.approx(2)
    assert model(tiny_scan).log_intensity_scale.item() == 0


class Rates(Callback):
    """The rates of every part in every epoch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []
        self.start: dict[str, torch.Tensor] = {}
        self.probe: torch.Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.probe = pl_module.model.probe.detach().clone()

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        if index == 0:
            self.seen.append(
                {group.get("part", ""): group["lr"] for group in trainer.optimizers[0].param_groups}
            )


def test_fine_tuning_goes_on_at_a_lower_rate(tiny_scan: RawData, tmp_path: Path) -> None:
    rates = Rates()
    settings = {
        "epochs_fine_tune": 2,
        "fine_tune_gamma": 0.2,
        "scheduler": "Exponential",
        "min_lr_ratio": 0.5,
    }
    door(tiny_scan, tmp_path, rates, training=settings)
    assert [rate[""] for rate in rates.seen] == pytest.approx([1e-3, 5e-4, 1e-4, 1e-4])


STAGES = {
    "enable_staged_finetuning": True,
    "finetune_skip_stage3": False,
    "finetune_stage1_epochs": 1,
    "finetune_stage2_epochs": 1,
    "finetune_stage3_epochs": 1,
    "epochs": 1,
    "learning_rate": 0.1,
}


def test_stages_train_their_parts_and_freeze_the_others(tiny_scan: RawData, tmp_path: Path) -> None:
    rates = Rates()
    door(tiny_scan, tmp_path, rates, model={"use_shared_decoder": False}, training=STAGES)
    found = [{part: epoch[part] for part in PARTS} for epoch in rates.seen]
    assert found == [
        pytest.approx(dict.fromkeys(PARTS, 0.1)),
        pytest.approx({"encoder_bottom": 0, "encoder_top": 0, "decoder": 0.01, "phase_head": 0}),
        pytest.approx({"encoder_bottom": 0, "encoder_top": 0.001, "decoder": 0.005, "phase_head": 0.01}),
        pytest.approx(
            {"encoder_bottom": 0.0005, "encoder_top": 0.001, "decoder": 0.002, "phase_head": 0.005}
        ),
    ]


@pytest.mark.filterwarnings("ignore:train_loss. expected a loss that falls:UserWarning")
def test_a_stage_that_stalls_ends_early(tiny_scan: RawData, tmp_path: Path) -> None:
    rates = Rates()
    still = {"learning_rate": 1e-30, "finetune_stage1_epochs": 6, "finetune_early_stop_patience": 2}
    with pytest.warns(UserWarning, match="expected a loss that falls"):
        door(tiny_scan, tmp_path, rates, training=STAGES | still)
    assert len(rates.seen) == 1 + 3 + 1 + 1


def test_every_parameter_belongs_to_one_part() -> None:
    for shared in (True, False):
        built = network(use_shared_decoder=shared, cbam_encoder=True, cbam_bottleneck=True, eca_decoder=True)
        found = parts(built, shared_decoder=shared)
        assert sum(map(len, found.values())) == len(list(built.parameters()))
        assert all(found.values())


def groups_of(trainer: Door) -> np.ndarray:
    return trainer._prepared.data.training.groups


def test_groups_are_drawn_as_often_as_asked_for_and_within_the_bounds(
    tiny_scan: RawData, tmp_path: Path
) -> None:
    data = {"n_subsample": 3, "x_bounds": (0.3, 0.7)}
    trainer, _ = door(tiny_scan, tmp_path, Rates(), data=data, training={"epochs": 1})
    groups = groups_of(trainer)
    assert len(groups) == pytest.approx(3 * len(tiny_scan), rel=0.1)
    columns = trainer._prepared.data.scans[0].positions_px[:, 1]
    share = (columns[groups[:, 0]] - columns.min()) / np.ptp(columns)
    assert 0.29 < share.min() < share.max() < 0.71


def test_a_refined_probe_is_held_to_its_guess(tiny_scan: RawData, tmp_path: Path) -> None:
    moved = []
    for weight in (0.0, 1e-3, 1e3):
        rates = Rates()
        trainer, _ = door(tiny_scan, tmp_path / str(weight), rates, model={"probe_reference_coeff": weight})
        moved.append(float((trainer._prepared.module.model.probe.detach() - rates.probe).norm()))
    assert moved[0] == 0
    assert 0 < moved[2] < moved[1]


def test_the_best_checkpoint_is_found_where_it_was_moved(tiny_scan: RawData, tmp_path: Path) -> None:
    _, loader = door(tiny_scan, tmp_path, Rates())
    found = find_best_checkpoint(loader.output_dir)
    assert found is not None
    assert found.name.startswith("epoch=")
    moved = Path(loader.output_dir).rename(tmp_path / "moved")
    assert find_best_checkpoint(moved) == moved / "checkpoints" / found.name
    assert find_best_checkpoint(tmp_path / "nothing") is None


def test_labels_lose_their_mean_phase(tiny_scan: RawData, tmp_path: Path) -> None:
    known = dataclasses.replace(tiny_scan, object_guess=tiny_scan.object_truth)
    for subtracted in (True, False):
        trainer, _ = door(
            known,
            tmp_path / str(subtracted),
            Rates(),
            data={"phase_subtraction": subtracted},
            model={"mode": "Supervised"},
        )
        label = trainer._prepared.data.training[0]["label"]
        means = label.mean(dim=(-2, -1)).angle().abs().max().item()
        assert (means < 1e-4) == subtracted


def test_group_losses_are_relative_to_their_group(tiny_scan: RawData, tmp_path: Path) -> None:
    trainers = [
        door(tiny_scan, tmp_path / kind, Rates(), data={"normalize": kind}, training={"nll": False})[0]
        for kind in ("Batch", "Group")
    ]
    batch = trainers[0]._prepared.data.training.__getitems__([0])
    modules = [trainer._prepared.module for trainer in trainers]
    modules[1].load_state_dict(modules[0].state_dict())
    with torch.no_grad():
        of_scan, of_group = (module.loss(batch).item() for module in modules)
    own = batch["amplitude"].sum(dim=(-2, -1)).mean().item()
    assert of_group == pytest.approx(of_scan * batch["mean_amplitude"].item() / own, rel=1e-5)


def test_several_devices_train_beside_a_callback_of_the_caller(tiny_scan: RawData, tmp_path: Path) -> None:
    """Two processes, each with half of the batch; what the callback sees is seen here."""
    losses: dict[int, list[float]] = {}
    before = dict(os.environ)
    for n_devices in (2, 1):
        losses[n_devices] = seen = []

        class Losses(Callback):  # of a function: no other process could load it
            def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
                seen.append(float(trainer.callback_metrics[module.loss_name]))  # noqa: B023
                assert trainer.world_size == n_devices  # noqa: B023

        training = {"n_devices": n_devices, "strategy": "ddp_spawn", "batch_size": 8 // n_devices}
        _, loader = door(tiny_scan, tmp_path / str(n_devices), Losses(), training=training)
        assert find_best_checkpoint(loader.output_dir) is not None
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)
    assert len(losses[2]) == 2
    assert not multiprocessing.active_children()
    assert dict(os.environ) == before


def test_a_device_whose_process_fails_is_reported(tiny_scan: RawData, tmp_path: Path) -> None:
    trainer, loader = opened(tiny_scan, tmp_path, training={"n_devices": 2, "strategy": "ddp"})
    (loader.data_dir / "scan.npz").unlink()
    with pytest.raises(RuntimeError, match="n_devices: process 2 of 2 ended with exit code 1"):
        trainer.train()
    assert not multiprocessing.active_children()


def test_an_error_of_the_caller_ends_the_processes_of_other_devices(
    tiny_scan: RawData, tmp_path: Path
) -> None:
    class Breaks(Callback):
        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        door(tiny_scan, tmp_path, Breaks(), training={"n_devices": 2, "strategy": "ddp"})
    assert not multiprocessing.active_children()


def test_a_prepared_training_keeps_its_folder_to_itself_until_it_has_trained(
    tiny_scan: RawData, tmp_path: Path
) -> None:
    trainer, loader = opened(tiny_scan, tmp_path, training={"epochs": 1})
    folder = Path(loader.output_dir)
    with pytest.raises(ConfigError, match="in use by process"), RunFolder(folder):
        pass
    trainer.train()
    log = (folder / "run.log").read_text()
    assert log.index("training on ") < log.index("model saved: ")
    with pytest.raises(ConfigError, match="a trained model") as caught:
        Door._from_lightning(PtychoModel._new_model(PtychoPINN_Lightning, loader.config_manager), loader)
    assert "overwrite" not in str(caught.value)  # which this door does not have
    dropped, loader = opened(tiny_scan, tmp_path / "dropped")
    del dropped
    gc.collect()
    with RunFolder(loader.output_dir):
        pass
