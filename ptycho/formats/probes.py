"""The probe of a scan: as its file has it, brought to the pixels that are used; or from the optics that are set."""

import numpy as np

from ptycho.formats.frames import Window
from ptycho.formats.geometry import unknown_lengths, wavelength
from ptycho.formats.optics import illumination
from ptycho.formats.plan import Plan
from ptycho.formats.sources import Found, Sources
from ptycho.stored_array import Array


def probe_in(sources: Sources, plan: Plan | None) -> Array | None:
    """The probe as the settings ask for it, (modes, N, N); None: it is to be estimated.

    Raises:
        DataError: it is not there, or another size than the patterns.
    """
    settings, wanted = sources.settings, sources.settings.probe
    if plan is None:
        return None
    if settings.convergence and settings.aperture:
        got = f"{settings.convergence} and {settings.aperture}"
        sources.refuse("convergence, aperture", "a lens or a pinhole", got, "Set one of the two, not both.")
    has_lens = bool(settings.convergence or settings.aperture)
    has_optics = has_lens or settings.defocus is not None
    if wanted not in ("optics", "estimate"):
        found = sources.array("probe", sources.layout.probe, "c", "a complex probe, as large as the patterns")
        if found is not None:
            if wanted == "auto" and has_optics:
                got = f"{found.name} and the optics that are set"
                sources.refuse("probe", "one probe", got, "Set --probe to file, optics or estimate.")
            return _as_used(sources, found, plan)
        if wanted == "file":
            sources.missing("probe", "a complex probe", lambda entry: entry.dtype.kind == "c")
    if wanted == "optics" and not has_lens:
        sources.refuse("probe", "optics", "none that are set", "Set --convergence or --aperture.")
    if not has_optics:
        return None
    length = wavelength(sources)
    if length is None or plan.pixel_m is None:
        known = (("the wavelength", length), ("the size of an object pixel", plan.pixel_m))
        lacking = " and ".join(name for name, value in known if value is None)
        advice = "Set --energy." if plan.pixel_m else unknown_lengths(sources)
        sources.refuse("probe", f"{lacking} for the optics that are set", "none", advice)
    return illumination(settings, length, plan.pixel_m, plan.reading.window.n_pixels)


def _as_used(sources: Sources, found: Found, plan: Plan) -> Array:
    """A probe of the whole detector, cropped, padded and binned with it: modes (m, N, N)."""
    probe = found.values
    while probe.ndim > 3 and len(probe):  # of several wavelengths, or variable ones, the first
        probe = probe[0]
    probe = probe[None] if probe.ndim == 2 else probe
    window = plan.reading.window
    n = window.n_pixels
    shape = plan.images.shape
    if probe.ndim != 3 or not len(probe) or probe.shape[-2:] != shape:
        expected = f"a probe of {shape[0]} x {shape[1]} pixels, as the patterns have"
        advice = "Set --probe estimate to ignore it."
        sources.refuse(found.name, expected, f"shape {found.values.shape}", advice, found.path)
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    middle = shape[0] // 2 - window.side // 2, shape[1] // 2 - window.side // 2
    first = middle if window.wraps or window.first == middle else _first(far, window, middle)
    if shape == (n, n) and first == middle:
        return probe
    unbinned = window._replace(bin=1, pad=(window.pad or 0) * window.bin, wraps=False, first=first)
    rows, columns = unbinned.box
    far = unbinned.added_up(unbinned.cut(far[..., rows, columns], 0))
    near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    start = near.shape[-1] // 2 - n // 2  # binning cuts the outer part of the window off
    return near[..., start : start + n, start : start + n].astype(np.complex64)


@np.errstate(over="ignore", invalid="ignore")  # a probe that is not finite is found later
def _first(far: Array, window: Window, middle: tuple[int, int]) -> tuple[int, int]:
    """Where the used part of a probe's far field (modes, H, W) begins: in the middle, or where that of patterns does.

    A probe that goes with patterns off the centre has its light where theirs is; it moves with them, as otherwise the
    object would get a phase ramp.
    """
    light: Array = np.square(np.abs(far), dtype=np.float64).sum(axis=0)
    total = float(light.sum()) or 1.0
    row = float(light.sum(axis=1) @ np.arange(window.shape[0])) / total
    column = float(light.sum(axis=0) @ np.arange(window.shape[1])) / total
    half = window.side // 2
    return min(
        (middle, window.first),
        key=lambda first: float(np.hypot(row - first[0] - half, column - first[1] - half)),
    )
