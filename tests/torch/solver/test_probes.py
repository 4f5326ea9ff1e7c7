"""Probe modes: how they start, and their orthogonal form."""

import numpy as np
import pytest
import torch

from ptycho_torch.solver.probes import mode_powers, orthogonal, start_modes


def probe_of(n_modes: int = 1, N: int = 16) -> torch.Tensor:
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*2 * [np.arange(N) - N // 2], indexing="ij")
    waves = np.exp(-(y**2 + x**2) / 20 + 0.05j * y * x) * (1 + 0.1 * rng.normal(size=(n_modes, N, N)))
    return torch.from_numpy(waves)


@pytest.mark.parametrize(("n_given", "n_modes"), [(1, 1), (1, 4), (1, 6), (2, 4), (3, 2)])
def test_modes_start_orthogonal_with_the_power_and_a_share_each(n_given: int, n_modes: int) -> None:
    given = orthogonal(probe_of(n_given))
    modes = start_modes(given, n_modes)
    overlaps = torch.einsum("myx,nyx->mn", modes.conj(), modes)
    torch.testing.assert_close(overlaps, torch.diag(overlaps.diagonal()), atol=1e-8, rtol=0)
    if n_modes >= n_given:
        torch.testing.assert_close(modes.abs().square().sum(), given.abs().square().sum())
        shares = mode_powers(modes)[n_given:]
        torch.testing.assert_close(shares, torch.full_like(shares, 0.05))
    correlation = torch.vdot(modes[0].reshape(-1), given[0].reshape(-1))
    assert correlation.real.item() == pytest.approx(
        float(modes[0].abs().square().sum().sqrt() * given[0].abs().square().sum().sqrt()), rel=1e-6
    )


def test_too_many_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="n_modes: expected 1 to 6; got 7"):
        start_modes(probe_of(), 7)


def test_orthogonal_modes_predict_the_same_intensity() -> None:
    modes = probe_of(3)
    found = orthogonal(modes)
    overlaps = torch.einsum("myx,nyx->mn", found.conj(), found)
    torch.testing.assert_close(overlaps, torch.diag(overlaps.diagonal()), atol=1e-8, rtol=0)
    patch = torch.polar(torch.rand(16, 16).double() + 0.5, torch.rand(16, 16).double())
    before, after = (torch.fft.fft2(one * patch).abs().square().sum(dim=0) for one in (modes, found))
    torch.testing.assert_close(before, after)
    powers = mode_powers(found)
    assert powers.sum().item() == pytest.approx(1)
    assert (powers.diff() <= 0).all()
