"""Incoherent probe modes: how to start them, and their orthogonal form."""

import torch
from torch import Tensor


def start_modes(probe: Tensor, n_modes: int, share: float = 0.05) -> Tensor:
    """Probe modes to start from: the first times y, x, xy, y^2 - x^2, y^2 + x^2, made orthogonal.

    Args:
        probe: complex (M, N, N), photon**0.5. Modes beyond ``n_modes`` are left out.
        n_modes: how many modes to give, 1 to 6, or up to as many as ``probe`` has.
        share: of the power in each mode that is added.

    Returns:
        Complex (n_modes, N, N) of the power of ``probe``.

    Raises:
        ValueError: more modes than can be made.
    """
    if len(probe) >= n_modes:
        return probe[:n_modes].clone()
    power = probe.abs().square().sum()
    n_given, n_pixels = len(probe), probe.shape[-1]
    added = (probe[0] * _ramps(probe[0]))[1:]
    if n_modes > n_given + len(added):
        raise ValueError(f"n_modes: expected 1 to {n_given + len(added)}; got {n_modes}. Lower it.")
    added = added[: n_modes - n_given]
    columns = torch.cat([probe, added]).reshape(n_modes, -1).T
    basis, triangle = torch.linalg.qr(columns)
    sizes = triangle.diagonal()
    basis = basis * (sizes / sizes.abs().clamp_min(torch.finfo(sizes.abs().dtype).tiny))
    shares = probe.abs().square().sum(dim=(-2, -1)) / power * (1 - share * (n_modes - n_given))
    shares = torch.cat([shares, shares.new_full((n_modes - n_given,), share)])
    return basis.T.reshape(n_modes, n_pixels, n_pixels) * (shares * power).sqrt()[:, None, None]


def _ramps(wave: Tensor) -> Tensor:
    """Polynomials 1, y, x, xy, y^2 - x^2, y^2 + x^2 about the centre of a wave, in units of its width."""
    n_pixels = wave.shape[-1]
    weight = wave.abs().square()
    axis = torch.arange(n_pixels, dtype=weight.dtype, device=weight.device)
    y, x = axis[:, None], axis[None, :]
    total = weight.sum()
    y, x = y - (weight * y).sum() / total, x - (weight * x).sum() / total
    width = ((weight * (y.square() + x.square())).sum() / total / 2).sqrt()
    y, x = torch.broadcast_tensors(y / width, x / width)
    return torch.stack([torch.ones_like(y), y, x, y * x, y.square() - x.square(), y.square() + x.square()])


def orthogonal(modes: Tensor) -> Tensor:
    """The same mixed state in orthogonal modes, strongest first; no intensity changes.

    Args:
        modes: complex (M, N, N).
    """
    n_modes = len(modes)
    _, sizes, waves = torch.linalg.svd(modes.reshape(n_modes, -1), full_matrices=False)
    return (sizes[:, None] * waves).reshape(modes.shape)


def mode_powers(modes: Tensor) -> Tensor:
    """Share of each mode in the power of all: real (M,), sums to one."""
    power = modes.abs().square().sum(dim=(-2, -1))
    return power / power.sum()
