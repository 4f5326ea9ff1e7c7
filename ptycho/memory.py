"""How much memory there is for what a file or a scan asks for, before anything is allocated."""

import math
from pathlib import Path
from typing import Final

_GROUP: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")
_LIMITS: Final = ("memory.max", "memory.limit_in_bytes")
_FEW: Final = 16 * 2**20


def available_bytes() -> int:
    """Memory that this process can still get: what the system has free, within the limits of its job or container."""
    import psutil  # pyright: ignore[reportMissingModuleSource]  # not every command asks

    return min([psutil.virtual_memory().available, *_limits()])


def too_large(n_bytes: float) -> bool:
    """Whether so many bytes are more than the memory that is available; few never are."""
    return n_bytes > _FEW and n_bytes > available_bytes()


def size_text(n_bytes: float) -> str:
    """Word a number of bytes: 16 TB, 3.2 GB, 15 kB."""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = min(int(math.log(max(n_bytes, 1), 1000)), len(units) - 1)
    return f"{n_bytes / 1000**power:.3g} {units[power]}"


def _limits() -> list[int]:
    """The memory limits of the control groups that this process is in; none elsewhere than on Linux."""
    try:
        lines = _GROUP.read_text().splitlines()
    except OSError:
        return []
    found: list[int] = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        folder = _GROUPS / controllers / place.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(_GROUPS):
                break
            found += [limit for name in _LIMITS for limit in _number_in(group / name)]
    return found


def _number_in(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []
