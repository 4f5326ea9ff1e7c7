"""Each operator against an independent formula, its adjoint, its energy and its symmetries."""

import numpy as np
import pytest
import torch

from ptycho_torch import physics

N = 16


def random_complex(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.complex(
        torch.randn(shape, generator=generator, dtype=torch.float64),
        torch.randn(shape, generator=generator, dtype=torch.float64),
    )


def inner(a: torch.Tensor, b: torch.Tensor) -> complex:
    return complex((a.conj() * b).sum())


def test_far_field_is_the_written_out_fourier_sum() -> None:
    wave = random_complex(N, N).numpy()
    index = np.arange(N)
    transform = np.exp(-2j * np.pi * np.outer(index - N // 2, index) / N) / np.sqrt(N)
    expected = transform @ wave @ transform.T
    far = physics.zero_centred(physics.far_field(torch.from_numpy(wave)))
    np.testing.assert_allclose(far.numpy(), expected, atol=1e-12)


def test_reordering_the_detector_and_back_changes_nothing() -> None:
    detector = torch.arange(N * N).reshape(N, N)
    assert physics.zero_first(detector)[0, 0] == detector[N // 2, N // 2]
    assert torch.equal(physics.zero_centred(physics.zero_first(detector)), detector)


def test_far_field_keeps_the_photons() -> None:
    wave = random_complex(3, N, N)
    before = wave.abs().square().sum(dim=(-2, -1))
    torch.testing.assert_close(physics.far_field(wave).abs().square().sum(dim=(-2, -1)), before)


def test_back_propagation_is_inverse_and_adjoint_of_the_far_field() -> None:
    wave, far = random_complex(N, N, seed=1), random_complex(N, N, seed=2)
    torch.testing.assert_close(physics.back_propagate(physics.far_field(wave)), wave)
    assert inner(physics.far_field(wave), far) == pytest.approx(inner(wave, physics.back_propagate(far)))


def test_a_flat_wave_scatters_into_the_central_pixel() -> None:
    pattern = physics.zero_centred(physics.far_field(torch.ones(N, N, dtype=torch.complex128))).abs()
    assert pattern.argmax().item() == (N // 2) * N + N // 2
    assert pattern[N // 2, N // 2].item() == pytest.approx(N)


def test_shifting_by_whole_pixels_rolls_the_image() -> None:
    image = random_complex(N, N)
    shifted = physics.fourier_shift(image, torch.tensor([2.0, -3.0], dtype=torch.float64))
    torch.testing.assert_close(shifted, torch.roll(image, (2, -3), dims=(0, 1)))


def test_shifting_a_gaussian_by_a_fraction_moves_its_centre_by_that_fraction() -> None:
    axis = torch.arange(32, dtype=torch.float64) - 16

    def gaussian(row: float, column: float) -> torch.Tensor:
        square = (axis[:, None] - row).square() + (axis[None, :] - column).square()
        return torch.exp(-square / 18).to(torch.complex128)

    shifted = physics.fourier_shift(gaussian(0, 0), torch.tensor([0.3, -0.45], dtype=torch.float64))
    torch.testing.assert_close(shifted, gaussian(0.3, -0.45), atol=1e-5, rtol=0)


def test_one_spectrum_serves_any_number_of_shifts() -> None:
    image, shifts = random_complex(2, N, N), torch.tensor([[0.3, -0.2], [0.0, 0.5], [-0.4, 0.1]])
    index = torch.fft.fftfreq(N, dtype=torch.float64)
    spectrum = torch.fft.fft2(image)
    for shift, moved in zip(shifts, physics.displaced(spectrum, shifts.double()[:, None]), strict=True):
        turns = shift[0] * index[:, None] + shift[1] * index[None, :]
        torch.testing.assert_close(moved, torch.fft.ifft2(spectrum * torch.exp(-2j * torch.pi * turns)))


def test_the_adjoint_of_a_shift_is_the_shift_back() -> None:
    a, b = random_complex(N, N, seed=3), random_complex(N, N, seed=4)
    shift = torch.tensor([0.3, 0.2], dtype=torch.float64)
    # an even grid has one frequency without a partner; adjointness needs it gone
    a, b = (_without_nyquist(value) for value in (a, b))
    assert inner(physics.fourier_shift(a, shift), b) == pytest.approx(
        inner(a, physics.fourier_shift(b, -shift))
    )


def _without_nyquist(image: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.fft2(image)
    spectrum[N // 2, :] = 0
    spectrum[:, N // 2] = 0
    return torch.fft.ifft2(spectrum)


def test_mask_is_one_inside_half_at_the_edge_zero_outside() -> None:
    mask = physics.circular_mask(64, diameter_px=32, edge_sigma_px=1.5)
    assert mask[32, 32].item() == pytest.approx(1)
    assert mask[32, 48].item() == pytest.approx(0.5, abs=1e-6)
    assert mask[32, 63].item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(mask, mask.T)


def test_mask_with_sharp_edge_holds_only_zeros_and_ones() -> None:
    mask = physics.circular_mask(32, diameter_px=10, edge_sigma_px=0)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.sum().item() == pytest.approx(np.pi * 25, rel=0.05)


def test_incoherent_modes_add_their_intensities() -> None:
    patch, probe = random_complex(2, N, N), random_complex(2, 3, N, N, seed=5)
    together = physics.intensity(physics.far_field(physics.exit_waves(patch, probe)))
    apart = sum(np.abs(np.fft.fft2(patch * probe[:, m], norm="ortho")) ** 2 for m in range(3))
    np.testing.assert_allclose(together.numpy(), apart, rtol=1e-10)


def test_a_global_phase_of_the_object_changes_no_intensity() -> None:
    patch, probe = random_complex(1, N, N), random_complex(1, 1, N, N, seed=6)
    turned = patch * np.exp(0.7j)
    before = physics.intensity(physics.far_field(physics.exit_waves(patch, probe)))
    torch.testing.assert_close(
        physics.intensity(physics.far_field(physics.exit_waves(turned, probe))), before
    )


def predicted_amplitude(patch: torch.Tensor, probe: torch.Tensor) -> torch.Tensor:
    return physics.intensity(physics.far_field(physics.exit_waves(patch, probe))).sqrt()


def updated(
    patch: torch.Tensor, probe: torch.Tensor, amplitude: torch.Tensor, measured: torch.Tensor | None = None
) -> torch.Tensor:
    step = 1 / physics.probe_peak(probe).square()[:, None, None]
    return physics.object_update(patch, probe, amplitude, step, torch.ones_like(step), measured)


def test_the_true_object_is_not_updated() -> None:
    patch, probe = random_complex(2, N, N), random_complex(2, 2, N, N, seed=7)
    update = updated(patch, probe, predicted_amplitude(patch, probe))
    torch.testing.assert_close(update, torch.zeros_like(update), atol=1e-4, rtol=0)


def test_update_is_minus_the_gradient_of_the_squared_amplitude_error() -> None:
    patch, probe = random_complex(1, N, N), random_complex(1, 2, N, N, seed=8)
    amplitude = predicted_amplitude(random_complex(1, N, N, seed=9), probe)
    variable = torch.view_as_real(patch).clone().requires_grad_()
    error = (predicted_amplitude(torch.view_as_complex(variable), probe) - amplitude).square().sum()
    (gradient,) = torch.autograd.grad(error, variable)
    peak = physics.probe_peak(probe).square().item()
    expected = -torch.view_as_complex(gradient) / (2 * peak)
    torch.testing.assert_close(updated(patch, probe, amplitude), expected, atol=1e-4, rtol=2e-3)


def test_pixels_that_were_not_measured_move_nothing() -> None:
    patch, probe = random_complex(1, N, N), random_complex(1, 1, N, N, seed=10)
    amplitude = predicted_amplitude(patch, probe)
    wrong = amplitude.clone()
    wrong[0, 3, 4] = 100.0
    measured = torch.ones(1, N, N, dtype=torch.bool)
    measured[0, 3, 4] = False
    update = updated(patch, probe, wrong, measured)
    torch.testing.assert_close(update, torch.zeros_like(update), atol=1e-4, rtol=0)


def test_a_brighter_beam_with_its_factor_gives_the_same_update() -> None:
    patch, probe = random_complex(2, N, N), random_complex(2, 2, N, N, seed=11)
    amplitude = predicted_amplitude(random_complex(2, N, N, seed=12), probe)
    step = 1 / physics.probe_peak(probe).square()[:, None, None]
    factor = torch.full_like(step, 2.25)
    torch.testing.assert_close(
        physics.object_update(patch, probe, amplitude, step, factor),
        updated(patch, 1.5 * probe, amplitude),
    )


def plain_update(
    patch: torch.Tensor,
    probe: torch.Tensor,
    amplitude: torch.Tensor,
    step: torch.Tensor,
    factor: torch.Tensor,
    measured: torch.Tensor | None,
) -> torch.Tensor:
    """The formula of the update in the operations of autograd."""
    far = torch.fft.fft2(probe * patch[:, None], norm="ortho")
    excess = amplitude / torch.sqrt(factor * far.abs().square().sum(dim=1) + 1e-4) - 1
    if measured is not None:
        excess = torch.where(measured, excess, 0)
    return step * (probe.conj() * torch.fft.ifft2(far * excess[:, None], norm="ortho")).sum(dim=1)


@pytest.mark.parametrize("n_modes", [1, 2])
@pytest.mark.parametrize("all_measured", [True, False])
@pytest.mark.parametrize("alone", [None, 0, 1, 2, 3])
def test_update_and_its_gradients_are_those_of_the_plain_formula(
    n_modes: int, all_measured: bool, alone: int | None
) -> None:
    generator = torch.Generator().manual_seed(13)
    amplitude, step, factor = (
        0.5 + torch.rand(*shape, dtype=torch.float64, generator=generator)
        for shape in ((2, 6, 6), (2, 1, 1), (2, 1, 1))
    )
    measured = None if all_measured else torch.rand(2, 6, 6, generator=generator) > 0.2
    inputs = [random_complex(2, 6, 6), random_complex(2, n_modes, 6, 6, seed=14), step, factor]
    for number, value in enumerate(inputs):
        value.requires_grad_(alone in (None, number))
    needed, towards = [value for value in inputs if value.requires_grad], random_complex(2, 6, 6, seed=15)

    def update(patch, probe, step, factor):
        return physics.object_update(patch, probe, amplitude, step, factor, measured)

    results = update(*inputs), plain_update(inputs[0], inputs[1], amplitude, step, factor, measured)
    torch.testing.assert_close(*results)
    for ours, plain in zip(
        *(torch.autograd.grad(result, needed, towards) for result in results), strict=True
    ):
        torch.testing.assert_close(ours, plain)
    assert torch.autograd.gradcheck(update, inputs)


def test_peak_of_a_probe_counts_all_modes() -> None:
    probe = torch.zeros(2, N, N, dtype=torch.complex64)
    probe[0, 5, 5], probe[1, 5, 5] = 3j, 4
    assert physics.probe_peak(probe).item() == pytest.approx(5)
