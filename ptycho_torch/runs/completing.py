"""What a run finds of a scan before it uses it; of several processes the first one finds it."""

from lightning.fabric import Fabric

from ptycho.raw_data import RawData
from ptycho_torch.data.completing import check_orientation, completed, find
from ptycho_torch.data.module import usable_patterns


def as_found(scan: RawData, fabric: Fabric, *, check: bool = False) -> RawData:
    """A scan with its probe, and its positions in the orientation that the settings ask for.

    Args:
        scan: as it was read.
        fabric: the devices.
        check: whether to warn where another orientation explains the patterns clearly better.
    """
    findings = find(scan, usable_patterns(scan)) if fabric.is_global_zero else None
    findings = fabric.broadcast(findings) if fabric.world_size > 1 else findings
    if findings is None:
        raise AssertionError("the first process found no probe")
    found = completed(scan, findings)
    if check and fabric.is_global_zero:
        check_orientation(found, usable_patterns(found))
    return found
