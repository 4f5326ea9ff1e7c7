"""What the networks do to object patches."""

import pytest
import torch

from ptycho_torch import physics
from ptycho_torch.networks.cnn import PatternNetwork
from ptycho_torch.networks.correction import ACTIVATIONS, Correction, amplitude_gain, outer_band_px
from ptycho_torch.networks.patterns import Patterns
from ptycho_torch.networks.unet import UNet
from ptycho_torch.networks.unrolled import UnrolledNetwork

N = 32


def correction(band_px: int = 0, blur_sigma_px: float = 0.0) -> Correction:
    return Correction(N, "sigmoid", band_px, blur_sigma_px)


def patches(seed: int = 0, n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.complex(*(torch.randn(n, N, N, generator=generator) for _ in range(2)))


def test_unet_keeps_the_size_of_the_image() -> None:
    assert UNet(3, 2, 8)(torch.randn(2, 3, N, N)).shape == (2, 2, N, N)


def test_untrained_unet_says_almost_nothing() -> None:
    assert UNet(3, 2, 8)(torch.randn(2, 3, N, N)).abs().max() < 0.1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gain_is_one_where_the_network_says_nothing(activation: str) -> None:
    assert amplitude_gain(torch.zeros(1), activation).item() == pytest.approx(1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gain_grows_with_the_output_near_rest(activation: str) -> None:
    values = amplitude_gain(torch.linspace(-0.5, 0.5, 9), activation)
    assert (values.diff() > 0).all()


def test_correction_multiplies_by_gain_and_phase() -> None:
    patch = patches()
    output = torch.randn(2, 2, N, N)
    expected = patch * 2 * torch.sigmoid(output[:, 0]) * torch.exp(1j * output[:, 1])
    torch.testing.assert_close(correction()(patch, output), expected)


def test_outer_band_stays_as_it_is() -> None:
    patch, output = patches(), torch.randn(2, 2, N, N)
    corrected = correction(band_px=4)(patch, output)
    inside = torch.zeros(N, N, dtype=torch.bool)
    inside[4:-4, 4:-4] = True
    torch.testing.assert_close(corrected[:, ~inside], patch[:, ~inside])
    assert (corrected[:, inside] != patch[:, inside]).all()


def test_blur_is_the_gaussian_it_says() -> None:
    sigma = 1.5
    output = torch.zeros(1, 2, N, N)
    output[0, 1, N // 2, N // 2] = 0.5
    phase = correction(blur_sigma_px=sigma)(torch.ones(1, N, N, dtype=torch.complex64), output).angle()[0]
    axis = torch.arange(N) - N // 2
    gaussian = torch.exp(-(axis[:, None].square() + axis[None, :].square()) / (2 * sigma**2))
    expected = 0.5 * gaussian / gaussian.sum()
    torch.testing.assert_close(phase, expected, atol=3e-4, rtol=0)


@pytest.mark.parametrize(
    ("probe_big", "pad_object", "band"),
    [(True, True, 4), (False, True, 16), (True, False, 0), (False, False, 0)],
)
def test_field_of_view_follows_probe_and_padding(probe_big: bool, pad_object: bool, band: int) -> None:
    assert outer_band_px(64, probe_big=probe_big, pad_object=pad_object) == band


def scattering(seed: int = 1, remainder_px: float = 0.0) -> Patterns:
    """What a Gaussian probe scatters from an object."""
    axis = torch.arange(N) - N // 2
    gaussian = torch.exp(-(axis[:, None].square() + axis[None, :].square()) / 50.0)
    probe = gaussian.to(torch.complex64).expand(2, 1, N, N)
    waves = physics.far_field(physics.exit_waves(1 + 0.3 * patches(seed), probe))
    return Patterns(
        amplitude=physics.intensity(waves).sqrt(),
        measured=None,
        probe=probe,
        step_length=torch.ones(2, 1, 1),
        intensity_factor=torch.ones(2, 1, 1),
        remainder_px=torch.full((2, 2), remainder_px),
        weight=torch.ones(2, N, N),
        photon_scale=torch.ones(2, 1, 1),
    )


def amplitude_error(patch: torch.Tensor, patterns: Patterns) -> float:
    waves = physics.far_field(physics.exit_waves(patch, patterns.probe))
    return (physics.intensity(waves).sqrt() - patterns.amplitude).square().sum().item()


def test_untrained_unrolled_network_already_reduces_the_error() -> None:
    patterns = scattering()
    network = UnrolledNetwork(2, 3, 8, correction())
    patch = torch.ones(2, N, N, dtype=torch.complex64)
    errors = [amplitude_error(patch, patterns)]
    with torch.no_grad():
        for k in range(network.n_passes):
            patch = network.step(k, patch, patterns)
            errors.append(amplitude_error(patch, patterns))
    assert network.n_passes == 6
    assert errors[-1] < 0.5 * errors[0]


def test_only_the_last_pass_of_a_round_is_learned() -> None:
    network = UnrolledNetwork(2, 3, 8, correction())
    assert [network.is_learned(k) for k in range(6)] == [False, False, True, False, False, True]


def test_pattern_network_follows_the_sub_pixel_position() -> None:
    network = PatternNetwork(8, correction())
    torch.nn.init.normal_(network.unet.decoders[0].head.weight, std=0.3)
    start = torch.ones(2, N, N, dtype=torch.complex64)
    with torch.no_grad():
        still = network.step(0, start, scattering())
        moved = network.step(0, start, scattering(remainder_px=0.25))
    expected = 1 + physics.fourier_shift(still - 1, torch.full((2, 2), 0.25))
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)
    assert (moved - still).abs().max() > 1e-3


def test_pattern_network_does_not_look_at_unmeasured_pixels() -> None:
    measured = torch.ones(2, N, N, dtype=torch.bool)
    measured[:, 5, 6] = False
    patterns = scattering()._replace(measured=measured)
    spoiled = patterns.amplitude.clone()
    spoiled[:, 5, 6] = 1e4
    network = PatternNetwork(8, correction())
    start = torch.ones(2, N, N, dtype=torch.complex64)
    with torch.no_grad():
        results = [network.step(0, start, p) for p in (patterns, patterns._replace(amplitude=spoiled))]
    torch.testing.assert_close(results[0], results[1])
