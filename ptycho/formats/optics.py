"""The probe that optics make: the focus of a lens, or the beam behind a pinhole, with a defocus."""

import numpy as np
import numpy.typing as npt

from ptycho.config.data import DataConfig
from ptycho.config.quantities import ANGLES, LENGTHS, quantity


def in_rad_px2(defocus_m: float, wavelength_m: float, pixel_m: float) -> float:
    """A distance to the focus as a phase over the square of the frequency, rad pixel**2."""
    return -np.pi * wavelength_m * defocus_m / pixel_m**2


def illumination(
    settings: DataConfig, wavelength_m: float, pixel_m: tuple[float, float], n_pixels: int
) -> npt.NDArray[np.complex64] | None:
    """The probe at the sample, (1, N, N), of power 1; None where no optics are set.

    Args:
        settings: of [data]: convergence or aperture, and defocus.
        wavelength_m: in metres.
        pixel_m: of the object, rows and columns.
        n_pixels: side of the patterns.
    """
    z_m = (quantity(settings.defocus, LENGTHS) if settings.defocus else None) or 0.0
    along = [(np.arange(n_pixels) - n_pixels // 2) / (n_pixels * pixel) for pixel in pixel_m]
    frequency = np.hypot(along[0][:, None], along[1][None])
    if settings.convergence is not None:
        angle = quantity(settings.convergence, ANGLES)
        far = (frequency <= np.sin(angle or 0.0) / wavelength_m).astype(np.complex128)
    elif settings.aperture is not None:
        diameter = quantity(settings.aperture, LENGTHS) or 0.0
        sides = [(np.arange(n_pixels) - n_pixels // 2) * pixel for pixel in pixel_m]
        hole = np.hypot(sides[0][:, None], sides[1][None]) <= diameter / 2
        far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(hole.astype(np.complex128)), norm="ortho"))
    else:
        return None
    far *= np.exp(-1j * np.pi * wavelength_m * z_m * frequency**2)
    near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far), norm="ortho"))
    power = float(np.sum(np.abs(near) ** 2)) or 1.0
    return (near / np.sqrt(power)).astype(np.complex64)[None]
