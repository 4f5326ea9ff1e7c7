"""Door: simulated scans under their historical path."""

from ptycho.simulation import (
    GOLDEN_ANGLE_RAD,
    IMAGES,
    make_probe,
    photograph,
    scan_positions,
    simulate_scan,
)

__all__ = ["GOLDEN_ANGLE_RAD", "IMAGES", "make_probe", "photograph", "scan_positions", "simulate_scan"]
