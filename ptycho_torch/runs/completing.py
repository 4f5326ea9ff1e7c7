"""What a run finds of a scan before it uses it; of several processes the first one finds it."""

from collections.abc import Callable
from typing import TypeVar

from lightning.fabric import Fabric

from ptycho.raw_data import RawData
from ptycho_torch.data.completing import completed, find, of_orientation, with_verdict
from ptycho_torch.data.module import usable_patterns

T = TypeVar("T")


def as_found(scan: RawData, fabric: Fabric) -> RawData:
    """A scan with its probe, and its positions in the orientation that the settings ask for; a better one is a warning.

    Args:
        scan: as it was read.
        fabric: the devices.
    """
    findings = _by_first(fabric, lambda: find(scan, usable_patterns(scan)))
    if findings is None:
        raise AssertionError("the first process found nothing")
    found = completed(scan, findings)
    verdict = _by_first(fabric, lambda: of_orientation(found, usable_patterns(found), findings.unclear_error))
    return found if verdict is None else with_verdict(found, verdict, says=fabric.is_global_zero)


def _by_first(fabric: Fabric, action: Callable[[], T]) -> T | None:
    """What the first process finds, for all of them."""
    found = action() if fabric.is_global_zero else None
    return fabric.broadcast(found) if fabric.world_size > 1 else found
