"""Network and physics together: from measured amplitudes to object patches, and to what these would scatter."""

import math

import torch
from torch import Tensor, nn

from ptycho.config.errors import ConfigError, Failure
from ptycho_torch import physics
from ptycho_torch.config_params import DataConfig, ModelConfig
from ptycho_torch.networks.cnn import PatternNetwork
from ptycho_torch.networks.correction import Correction, outer_band_px
from ptycho_torch.networks.patterns import Estimate, Patterns
from ptycho_torch.networks.unet import Options
from ptycho_torch.networks.unrolled import UnrolledNetwork
from ptycho_torch.patches import averaged, overlap_of

CHANNELS_PER_SCALE = 8
"""The first level of a U-Net has 8 x n_filters_scale channels."""
CALIBRATED_SCALE = 10000.0
"""The intensity_scale that stands for the calibration of the data."""
COVERAGE_FLOOR = 1e-3
"""Weight of an object pixel the probe hardly reaches, relative to the best illuminated one."""

Batch = dict[str, Tensor]
"""amplitude float32 (B, C, N, N) photon**0.5; corner int64 (B, C, 2), first row and column of each patch;
remainder float32 (B, C, 2), sub-pixel part of the positions; scan int64 (B,), which probe; mean_counts and
mean_amplitude float32 (B,), photons of a pattern and sum of its amplitudes (photon**0.5), mean of its scan; optional
measured bool (B, C, N, N), label complex64 (B, C, N, N) and intensity float32 (B, C), of the beam, relative."""


MOST_PASSES = 1000
"""Passes of a network over a pattern; each is a step of the physics, and some end with a U-Net of their own."""

LARGEST_SCALE = 1000
"""Largest n_filters_scale; no memory holds the weights of a network that is so wide."""


WIDEST_SMOOTHING = 0.5
"""Largest gaussian_smoothing_sigma, relative to the side of a patch; a wider one leaves next to nothing of it."""


def build_network(model: ModelConfig, n_pixels: int) -> UnrolledNetwork | PatternNetwork:
    """The network a configuration asks for.

    Raises:
        ConfigError: it would be of more passes than any needs, wider, or with kernels larger than its patches.
    """
    _refuse_large_kernels(model, n_pixels)
    if model.n_filters_scale > LARGEST_SCALE:
        message = f"n_filters_scale: expected at most {LARGEST_SCALE}; got {model.n_filters_scale}. Lower it."
        raise ConfigError([Failure("n_filters_scale", message)])
    n_passes = model.n_unrolled_steps * model.n_physics_steps
    if model.architecture == "unrolled" and n_passes > MOST_PASSES:
        rule = f"expected at most {MOST_PASSES} steps, n_unrolled_steps times n_physics_steps"
        message = f"n_unrolled_steps: {rule}; got {model.n_unrolled_steps} times {model.n_physics_steps}. Lower one."
        raise ConfigError([Failure("n_unrolled_steps", message)])
    band = outer_band(model, n_pixels)
    correction = Correction(n_pixels, model.amp_activation, band, model.gaussian_smoothing_sigma)
    width = CHANNELS_PER_SCALE * model.n_filters_scale
    options = Options(
        batch_norm=model.batch_norm,
        cbam_encoder=model.cbam_encoder,
        cbam_bottleneck=model.cbam_bottleneck,
        cbam_decoder=model.cbam_decoder,
        eca_encoder=model.eca_encoder,
        eca_decoder=model.eca_decoder,
        spatial_px=model.decoder_spatial_kernel if model.spatial_decoder else 0,
        shared_decoder=model.use_shared_decoder,
        outer_fraction=model.decoder_last_c_outer_fraction,
    )
    if model.architecture == "cnn":
        return PatternNetwork(width, correction, options)
    return UnrolledNetwork(model.n_unrolled_steps, model.n_physics_steps, width, correction, options)


def _refuse_large_kernels(model: ModelConfig, n_pixels: int) -> None:
    limits = {"gaussian_smoothing_sigma": ("half", WIDEST_SMOOTHING * n_pixels)}
    if model.spatial_decoder:
        limits["decoder_spatial_kernel"] = ("twice", 2.0 * n_pixels)
    for name, (part, limit) in limits.items():
        if (value := getattr(model, name)) > limit:
            rule = f"expected at most {limit:g}, {part} the side of a pattern (N = {n_pixels})"
            raise ConfigError([Failure(name, f"{name}: {rule}; got {value:g}. Lower it.")])


def outer_band(model: ModelConfig, n_pixels: int) -> int:
    """Width of the band of a patch outside the field of view of the network that a configuration asks for, pixels."""
    return outer_band_px(
        n_pixels, probe_big=model.probe_big, pad_object=model.pad_object, edge_pad=model.edge_pad
    )


class PtychoPINN(nn.Module):
    """Network and physics: from measured amplitudes to object patches and expected photon counts.

    Args:
        model: network and physics options.
        data: geometry of the data; ``N`` and ``C`` patterns in a group.
        probes: complex (n_scans, modes, N, N), one illumination for each scan, photon**0.5.

    Raises:
        ValueError: the configurations say groups of several sizes.
    """

    photon_scale: Tensor
    probe_guess: Tensor

    def __init__(self, model: ModelConfig, data: DataConfig, probes: Tensor) -> None:
        super().__init__()
        if model.C_forward != model.C_model:
            raise ValueError(
                f"C_forward: expected {model.C_model}, as C_model; got {model.C_forward}. Network and physics "
                "have the same patterns in a group. Make them agree."
            )
        self.n_pixels = data.N
        self.group_size = model.C_model
        self.combine = model.object_big and self.group_size > 1
        self.network = build_network(model, data.N)
        # under ddp, a parameter that waits for a gradient and gets none is an error
        reached = model.mode == "Unsupervised" or model.architecture == "unrolled"
        scale = physics.probe_peak(probes) / data.probe_scale
        if not data.probe_normalize:
            scale = torch.ones_like(scale)
        self.register_buffer("photon_scale", scale)
        self.probe = nn.Parameter(
            torch.view_as_real(probes / scale[:, None, None, None]).contiguous(),
            requires_grad=reached and (model.probe_trainable or model.probe_reference_coeff > 0),
        )
        self.register_buffer("probe_guess", self.probe.detach().clone(), persistent=False)
        self.log_intensity_scale = nn.Parameter(
            torch.full((probes.shape[0],), math.log(model.intensity_scale / CALIBRATED_SCALE)),
            requires_grad=reached and model.intensity_scale_trainable,
        )
        self.register_buffer("probe_support", _probe_support(model, data.N), persistent=False)

    def probes(self) -> Tensor:
        """The illuminations in force: complex (n_scans, modes, N, N), photon**0.5, without gradient."""
        with torch.no_grad():
            return self._probes() * (self.photon_scale * self.log_intensity_scale.exp())[:, None, None, None]

    def _probes(self) -> Tensor:
        return physics.limit_support(torch.view_as_complex(self.probe), self.probe_support)

    def patterns(self, batch: Batch) -> Patterns:
        """Take the groups of a batch apart into single patterns with their displaced probes."""
        remainder = batch["remainder"].flatten(0, 1)
        scan = batch["scan"].repeat_interleave(batch["amplitude"].shape[1])
        scale = self.photon_scale[scan][:, None, None]
        # apart from the probe: the gradient of one number needs none of a complex array in every pass
        factor = (2 * self.log_intensity_scale).exp()[scan]
        if "intensity" in batch:
            factor = factor * batch["intensity"].flatten()
        spectra = torch.fft.fft2(self._probes())
        probe = physics.displaced(spectra[scan] if len(spectra) > 1 else spectra, remainder[:, None])
        energy = physics.intensity(probe)
        peak = energy.amax(dim=(-2, -1), keepdim=True)
        return Patterns(
            amplitude=physics.zero_first(batch["amplitude"].flatten(0, 1)) / scale,
            measured=physics.zero_first(batch["measured"].flatten(0, 1)) if "measured" in batch else None,
            probe=probe,
            step_length=1 / peak,
            intensity_factor=factor[:, None, None],
            remainder_px=remainder,
            weight=(energy / peak).detach() + COVERAGE_FLOOR,
            photon_scale=scale,
        )

    def step(self, k: int, estimate: Estimate, patterns: Patterns) -> Tensor:
        """One pass of the network for single patterns: complex (M, N, N)."""
        return self.network.step(k, estimate, patterns)

    def expected_counts(self, estimate: Estimate, patterns: Patterns) -> Tensor:
        """Photons per pixel that object patches would scatter: float (M, N, N), zero frequency first."""
        return estimate.scattered.intensity * (patterns.intensity_factor * patterns.photon_scale.square())

    def forward(self, batch: Batch) -> tuple[list[Estimate], Patterns]:
        """Object patches after every learned correction, averaged within each group where they overlap.

        Args:
            batch: groups of patterns.

        Returns:
            A list with B * C patches for each correction, and the single patterns they belong to.

        Raises:
            ValueError: the groups have another size than the model was built for.
        """
        n_group = batch["amplitude"].shape[1]
        if n_group != self.group_size:
            raise ValueError(
                f"group: expected {self.group_size} patterns (C_model); got {n_group} from the data. "
                "Use the gridsize that the model was built with."
            )
        patterns = self.patterns(batch)
        overlap = overlap_of(batch["corner"], patterns.weight) if self.combine else None
        estimate = Estimate(torch.ones_like(patterns.probe[:, 0]), patterns.probe)
        estimates: list[Estimate] = []
        for k in range(self.network.n_passes):
            patch = self.step(k, estimate, patterns)
            if overlap is not None:
                patch = averaged(patch, overlap)
            estimate = Estimate(patch, patterns.probe)
            if self.network.is_learned(k):
                estimates.append(estimate)
        return estimates, patterns


def _probe_support(model: ModelConfig, n_pixels: int) -> Tensor | None:
    if model.probe_mask is None or model.probe_mask is False:
        return None
    if model.probe_mask is not True:
        return torch.as_tensor(model.probe_mask, dtype=torch.float32)
    diameter = n_pixels / 2 if model.probe_mask_diameter is None else model.probe_mask_diameter
    return physics.circular_mask(n_pixels, diameter, model.probe_mask_sigma)
