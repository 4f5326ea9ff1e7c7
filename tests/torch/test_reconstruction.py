"""Reassembly on a canvas: registration, trimming, weights, memory of what was used."""

import dataclasses

import numpy as np
import pytest
import torch

from ptycho.config.errors import ConfigError
from ptycho.raw_data import RawData
from ptycho_torch import reassembly
from ptycho_torch.config_params import InferenceConfig, ModelConfig
from ptycho_torch.data.groups import GroupDataset
from ptycho_torch.model import PtychoPINN
from ptycho_torch.networks.patterns import Estimate, Patterns
from ptycho_torch.reassembly import Reconstruction, kept_square, predicted_amplitude, reconstruct
from ptycho_torch.runs.reconstruction import illuminated_model
from ptycho_torch.runtime import build_fabric
from tests.torch.conftest import N, TinyModel


class Oracle(torch.nn.Module):
    """Stands where a network stands and knows the object: its patches are exact."""

    n_passes = 1

    def __init__(self, scan: RawData) -> None:
        super().__init__()
        self.scan = scan
        self.seen = 0

    def step(self, k: int, estimate: Estimate, patterns: Patterns) -> torch.Tensor:
        first, self.seen = self.seen, self.seen + len(estimate.patch)
        rows, columns = (np.round(self.scan.positions_px[first : self.seen]).astype(int) - N // 2).T
        windows = np.lib.stride_tricks.sliding_window_view(self.scan.object_truth, (N, N))
        return torch.from_numpy(np.ascontiguousarray(windows[rows, columns]))


def run(scan: RawData, *, oracle: bool = True, execution=None, model=None, **inference) -> Reconstruction:
    tiny = TinyModel(model=model or {}, execution=execution or {})
    torch.manual_seed(0)
    built = PtychoPINN(tiny.model_config, tiny.data_config, torch.from_numpy(scan.probe)[None])
    if oracle:
        built.network = Oracle(scan)
    return reconstruct(
        built,
        tiny.model_config,
        scan,
        np.arange(len(scan)),
        inference=InferenceConfig(**inference),
        execution=tiny.execution_config,
        fabric=build_fabric(tiny.execution_config),
    )


def test_exact_patches_give_the_object_at_its_registered_place(tiny_scan: RawData) -> None:
    result = run(tiny_scan, window=0)
    (row, column), (height, width) = result.corner_px, result.object.shape
    truth = tiny_scan.object_truth[row : row + height, column : column + width]
    covered = result.coverage > 0
    np.testing.assert_allclose(result.object[covered], truth[covered], atol=1e-5)
    np.testing.assert_array_equal(result.object[~covered], 1)


def test_the_window_is_trimmed_from_every_border_and_the_corner_follows(tiny_scan: RawData) -> None:
    whole, inner = run(tiny_scan, window=0), run(tiny_scan, window=7)
    np.testing.assert_array_equal(inner.object, whole.object[7:-7, 7:-7])
    assert inner.corner_px == (whole.corner_px[0] + 7, whole.corner_px[1] + 7)
    assert inner.canvas_corner_px == whole.corner_px


def test_middle_trim_uses_only_the_central_square_of_a_patch(tiny_scan: RawData) -> None:
    result = run(tiny_scan, middle_trim=4, window=0)
    corners = np.round(tiny_scan.positions_px).astype(int) - N // 2 - result.canvas_corner_px
    expected = np.zeros(result.canvas.shape, dtype=bool)
    for row, column in corners:
        expected[row + 14 : row + 18, column + 14 : column + 18] = True
    np.testing.assert_array_equal(result.coverage > 0, expected)


def test_pad_eval_keeps_the_outer_band() -> None:
    model = ModelConfig()
    assert kept_square(64, model, InferenceConfig(pad_eval=True)) == slice(0, 64)
    assert kept_square(64, model, InferenceConfig()) == slice(4, 60)
    assert kept_square(64, dataclasses.replace(model, pad_object=False), InferenceConfig()) == slice(0, 64)


def test_a_middle_larger_than_the_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"middle_trim: .*64.*65"):
        kept_square(64, ModelConfig(), InferenceConfig(middle_trim=65))


def test_uniform_weighting_counts_patches(tiny_scan: RawData) -> None:
    coverage = run(tiny_scan, patch_weighting="uniform", pad_eval=True).coverage
    np.testing.assert_array_equal(coverage, np.round(coverage))
    assert coverage.sum() == len(tiny_scan) * N * N


@pytest.mark.parametrize("object_big", [True, False])
def test_batch_size_and_workers_do_not_change_the_result(tiny_scan: RawData, object_big: bool) -> None:
    model = {"object_big": object_big}
    one = run(tiny_scan, oracle=False, model=model, batch_size=9)
    two = run(tiny_scan, oracle=False, model=model, batch_size=70, execution={"num_workers": 1})
    np.testing.assert_allclose(one.object, two.object, atol=1e-5)


def plain(model: PtychoPINN, scan: RawData, inner: slice) -> np.ndarray:
    """The canvas of a reconstruction, pattern by pattern: each pass averages patches with their illumination."""
    dataset = GroupDataset([scan], [np.arange(len(scan))[:, None]])
    corners = np.round(scan.positions_px).astype(int) - N // 2
    corners -= corners.min(axis=0)
    canvas = np.ones(corners.max(axis=0) + N, dtype=np.complex64)
    for k in range(model.network.n_passes):
        total, weights = np.zeros_like(canvas), np.zeros(canvas.shape, dtype=np.float32)
        for i, (row, column) in enumerate(corners):
            window = slice(row, row + N), slice(column, column + N)
            patterns = model.patterns(dataset.__getitems__([i]))
            patch = model.step(k, Estimate(torch.from_numpy(canvas[window])[None], patterns.probe), patterns)[
                0
            ].numpy()
            weight = np.zeros((N, N), dtype=np.float32)
            weight[inner, inner] = patterns.weight[0, inner, inner]
            total[window] += weight * patch
            weights[window] += weight
        canvas = np.where(weights > 0, total / np.where(weights > 0, weights, 1), 1)
    return canvas


@pytest.mark.parametrize("n_bytes", [0, 16 * N * N * 20, reassembly.KEPT_BYTES])
def test_a_reconstruction_is_the_plain_formula_however_much_is_kept(
    tiny_scan: RawData, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    monkeypatch.setattr(reassembly, "KEPT_BYTES", n_bytes)
    tiny = TinyModel()
    torch.manual_seed(0)
    model = PtychoPINN(tiny.model_config, tiny.data_config, torch.from_numpy(tiny_scan.probe)[None])
    inner = kept_square(N, tiny.model_config, InferenceConfig())
    with torch.inference_mode():
        expected = plain(model.eval(), tiny_scan, inner)
    result = run(tiny_scan, oracle=False, batch_size=8)
    np.testing.assert_allclose(result.canvas, expected, atol=2e-5)


def test_double_precision_agrees_with_single(tiny_scan: RawData) -> None:
    single, double = (
        run(tiny_scan, oracle=False, execution={"precision": p}) for p in ("32-true", "64-true")
    )
    np.testing.assert_allclose(single.object, double.object, atol=1e-3)


def test_weights_of_double_precision_are_loaded_with_every_digit(tiny_scan: RawData) -> None:
    tiny = TinyModel(execution={"precision": "64-true"})
    configs = (tiny.model_config, tiny.data_config)
    torch.manual_seed(0)
    state = PtychoPINN(*configs, torch.from_numpy(tiny_scan.probe)[None]).double().state_dict()
    state = {name: value * (1 + 1e-12) for name, value in state.items()}
    loaded = illuminated_model(*configs, state, [], tiny_scan).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if name.startswith("network."))


def test_prediction_follows_the_patterns_of_the_true_object(tiny_scan: RawData) -> None:
    result, index = run(tiny_scan, window=0), np.arange(20)
    amplitude = tiny_scan.amplitude(index)
    predicted = predicted_amplitude(result, tiny_scan, index)
    assert np.abs(predicted - amplitude).sum() / amplitude.sum() < 0.25  # photon noise alone, at 1e5 photons
    assert (predicted**2).sum() == pytest.approx((amplitude**2).sum(), rel=0.01)
