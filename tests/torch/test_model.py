"""The model as a whole: what it predicts, what its options change, what training minimizes."""

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from ptycho.config.errors import ConfigError
from ptycho.raw_data import RawData
from ptycho_torch import losses, physics
from ptycho_torch.config_params import InferenceConfig
from ptycho_torch.data.groups import GroupDataset
from ptycho_torch.forward_model import build_network
from ptycho_torch.model import Batch, PtychoPINN, PtychoPINN_Lightning
from ptycho_torch.networks.patterns import Estimate
from ptycho_torch.runtime import run_environment
from tests.torch.conftest import N, TinyModel


def batch_of(scan: RawData, groups: list[list[int]], *, with_labels: bool = False) -> Batch:
    dataset = GroupDataset([scan], [np.array(groups)], with_labels=with_labels)
    return default_collate([dataset[i] for i in range(len(groups))])


def model_of(scan: RawData, tiny: TinyModel) -> PtychoPINN:
    torch.manual_seed(0)
    return PtychoPINN(tiny.model_config, tiny.data_config, torch.from_numpy(scan.probe)[None])


def lightning_of(scan: RawData, tiny: TinyModel, **options) -> PtychoPINN_Lightning:
    torch.manual_seed(0)
    return PtychoPINN_Lightning(
        tiny.model_config,
        tiny.data_config,
        tiny.training_config,
        InferenceConfig(),
        execution_config=tiny.execution_config,
        probes=torch.from_numpy(scan.probe)[None],
        **options,
    )


@pytest.fixture
def batch(tiny_scan: RawData) -> Batch:
    return batch_of(tiny_scan, [[3, 4, 5, 6], [10, 11, 12, 13]])


def test_true_patches_predict_the_noise_free_patterns(tiny_scan: RawData) -> None:
    index = np.arange(12)
    batch = batch_of(tiny_scan, index[:, None].tolist(), with_labels=True)
    model = model_of(tiny_scan, TinyModel(gridsize=1))
    patterns = model.patterns(batch)
    with torch.no_grad():
        expected = physics.zero_centred(
            model.expected_counts(Estimate(batch["label"].flatten(0, 1), patterns.probe), patterns)
        ).numpy()
    counts = tiny_scan.amplitude(index) ** 2
    deviation = (counts - expected) / np.sqrt(np.maximum(expected, 1))
    assert abs(expected.sum() / counts.sum() - 1) < 0.01
    assert 0.9 < np.std(deviation[expected > 20]) < 1.1


def test_patches_of_a_group_agree_where_they_overlap(tiny_scan: RawData, batch: Batch) -> None:
    with torch.no_grad():
        estimates, _ = model_of(tiny_scan, TinyModel())(batch)
    group = estimates[-1].patch.reshape(2, 4, N, N)[0]
    shift = (batch["corner"][0, 1] - batch["corner"][0, 0]).tolist()
    rows, columns = (slice(max(0, s), N + min(0, s)) for s in shift)
    other_rows, other_columns = (slice(max(0, -s), N + min(0, -s)) for s in shift)
    torch.testing.assert_close(group[0, rows, columns], group[1, other_rows, other_columns])


def test_without_object_big_every_patch_stands_alone(tiny_scan: RawData, batch: Batch) -> None:
    model = model_of(tiny_scan, TinyModel(model={"object_big": False}))
    changed = {
        **batch,
        "corner": batch["corner"] + torch.tensor([0, 7])[None, None] * torch.arange(4)[None, :, None],
    }
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[0][-1].patch, model(changed)[0][-1].patch)


def test_a_group_of_another_size_is_refused(tiny_scan: RawData) -> None:
    with pytest.raises(ValueError, match=r"expected 4 patterns.*got 1"):
        model_of(tiny_scan, TinyModel())(batch_of(tiny_scan, [[3]]))


@pytest.mark.parametrize(
    ("name", "value"), [("gaussian_smoothing_sigma", 1e300), ("decoder_spatial_kernel", 10**9 + 1)]
)
def test_kernels_larger_than_the_pattern_are_refused(name: str, value: float) -> None:
    model = TinyModel(model={"spatial_decoder": True, name: value}).model_config
    with pytest.raises(ConfigError, match=rf"^{name}: expected at most .*\(N = {N}\); got 1e\+"):
        build_network(model, N)


def test_probes_come_back_in_photons(tiny_scan: RawData) -> None:
    model = model_of(tiny_scan, TinyModel())
    np.testing.assert_allclose(model.probes()[0].numpy(), tiny_scan.probe, rtol=1e-5, atol=1e-4)


def test_probe_mask_limits_the_probe_to_its_disc(tiny_scan: RawData) -> None:
    options = {"probe_mask": True, "probe_mask_diameter": 12.0, "probe_mask_sigma": 0.0}
    probe = model_of(tiny_scan, TinyModel(model=options)).probes()[0, 0]
    outside = physics.circular_mask(N, 12.0, 0.0) == 0
    assert not probe[outside].abs().any()
    assert probe.abs().max() == pytest.approx(np.abs(tiny_scan.probe).max(), rel=1e-5)


@pytest.mark.parametrize("architecture", ["unrolled", "cnn"])
@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_loss_falls_when_one_batch_is_trained_on(
    tiny_scan: RawData, architecture: str, gridsize: int
) -> None:
    module = lightning_of(tiny_scan, TinyModel(gridsize=gridsize, model={"architecture": architecture}))
    start = 3 * np.arange(3)[:, None] + np.arange(gridsize**2)
    batch = batch_of(tiny_scan, start.tolist())
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


def loss_with(scan: RawData, batch: Batch, **training) -> float:
    tiny = TinyModel(training=training)
    with torch.no_grad():
        return lightning_of(scan, tiny).loss(batch).item()


def test_loss_is_the_weighted_sum_of_its_parts(tiny_scan: RawData, batch: Batch) -> None:
    both = loss_with(tiny_scan, batch, nll_weight=2.0, mae_weight=3.0)
    nll, mae = loss_with(tiny_scan, batch), loss_with(tiny_scan, batch, nll=False, mae_weight=1.0)
    assert both == pytest.approx(2 * nll + 3 * mae, rel=1e-5)


def test_total_variation_adds_to_the_loss(tiny_scan: RawData, batch: Batch) -> None:
    assert loss_with(tiny_scan, batch, realspace_weight=1.0) > loss_with(tiny_scan, batch)


def test_loss_function_mae_means_the_r_factor_alone(tiny_scan: RawData, batch: Batch) -> None:
    module = lightning_of(tiny_scan, TinyModel(model={"loss_function": "MAE"}))
    with torch.no_grad():
        estimates, patterns = module.model(batch)
        root = module.model.expected_counts(estimates[-1], patterns).sqrt()
        measured = batch["amplitude"].flatten(0, 1)
        mean = torch.as_tensor(tiny_scan.amplitude(np.arange(len(tiny_scan))).sum(axis=(1, 2)).mean())
        expected = losses.amplitude_loss(physics.zero_centred(root), measured, mean)
        assert module.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_supervised_loss_compares_with_the_labels(tiny_scan: RawData) -> None:
    batch = batch_of(tiny_scan, [[3, 4, 5, 6]], with_labels=True)
    module = lightning_of(tiny_scan, TinyModel(model={"mode": "Supervised"}))
    with torch.no_grad():
        estimates, patterns = module.model(batch)
        expected = losses.object_loss(estimates[-1].patch, batch["label"].flatten(0, 1), patterns.weight)
        assert module.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_probe_and_scale_move_only_when_asked(tiny_scan: RawData, batch: Batch, trainable: bool) -> None:
    options = {"probe_trainable": trainable, "intensity_scale_trainable": trainable}
    module = lightning_of(tiny_scan, TinyModel(model=options))
    trainer = fit(module, batch)
    moved = (
        (module.model.probe.detach() - lightning_of(tiny_scan, TinyModel(model=options)).model.probe)
        .abs()
        .max()
    )
    assert (moved > 0) == trainable
    assert (module.model.log_intensity_scale.abs().max() > 0).item() == trainable
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    assert rates == ([1e-3, 1e-2, 1e-3] if trainable else [1e-3])


def fit(module: PtychoPINN_Lightning, batch: Batch, **options) -> lightning.Trainer:
    items = [{name: values[i] for name, values in batch.items()} for i in range(len(batch["scan"]))]
    with run_environment(module.execution_config):
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(module, DataLoader(items, batch_size=2))
    return trainer


def test_every_epoch_logs_loss_rate_and_time(tiny_scan: RawData, batch: Batch) -> None:
    metrics = fit(lightning_of(tiny_scan, TinyModel()), batch).callback_metrics
    assert {"train_loss", "learning_rate", "epoch_time_s"} <= metrics.keys()
    assert metrics["learning_rate"].item() == pytest.approx(1e-3)


def test_a_checkpoint_is_self_contained_plain_and_loads_without_executing(
    tiny_scan: RawData, batch: Batch, tmp_path
) -> None:
    tiny = TinyModel(model={"probe_mask": True}, execution={"learning_rate": 5e-4})
    module = lightning_of(tiny_scan, tiny)
    trainer = fit(module, batch)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    torch.load(tmp_path / "model.ckpt", weights_only=True)
    again = PtychoPINN_Lightning.load_from_checkpoint(
        tmp_path / "model.ckpt", map_location="cpu", weights_only=True
    )
    assert again.execution_config.learning_rate == 5e-4
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(batch), module.eval()(batch))
