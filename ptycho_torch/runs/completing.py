"""What a run finds of a scan before it uses it; of several processes the first one finds it."""

import dataclasses
import logging
from collections.abc import Callable
from typing import TypeVar

from lightning.fabric import Fabric

from ptycho.config.errors import printable
from ptycho.raw_data import RawData
from ptycho_torch.data.completing import completed, find, of_orientation
from ptycho_torch.data.module import usable_patterns

logger = logging.getLogger(__name__)

T = TypeVar("T")


def as_found(scan: RawData, fabric: Fabric, *, check: bool = False) -> RawData:
    """A scan with its probe, and its positions in the orientation that the settings ask for.

    Args:
        scan: as it was read.
        fabric: the devices.
        check: whether to warn where another orientation explains the patterns clearly better.
    """
    findings = _by_first(fabric, lambda: find(scan, usable_patterns(scan)))
    if findings is None:
        raise AssertionError("the first process found nothing")
    found = completed(scan, findings)
    if not check:
        return found
    verdict = _by_first(fabric, lambda: of_orientation(found, usable_patterns(found), findings.unclear_error))
    if verdict is None:
        return found
    if fabric.is_global_zero:
        logger.warning("%s: %s", printable(str(scan.path or "scan")), verdict.text)
    return dataclasses.replace(found, verdicts=(*found.verdicts, verdict))


def _by_first(fabric: Fabric, action: Callable[[], T]) -> T | None:
    """What the first process finds, for all of them."""
    found = action() if fabric.is_global_zero else None
    return fabric.broadcast(found) if fabric.world_size > 1 else found
