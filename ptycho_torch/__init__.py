"""The PyTorch Lightning backend.

Rule POLICY-001: PyTorch >= 2.2 is required, and importing this package without it fails. The check reads what
is installed and imports nothing: torch and lightning load with the modules that compute.
"""

import re
from importlib import metadata, util

_REQUIRED = (2, 2)


def _installed() -> str | None:
    """The version of the torch that an import would find; None without one."""
    if util.find_spec("torch") is None:
        return None
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def _require_torch() -> None:
    """Refuse to go on without PyTorch >= 2.2.

    Raises:
        RuntimeError: torch is missing or too old.
    """
    version = _installed()
    release = re.match(r"(\d+)\.(\d+)", version or "")
    if release and (int(release[1]), int(release[2])) >= _REQUIRED:
        return
    found = f"torch {version}" if version else "no torch"
    raise RuntimeError(
        f"ptycho_torch: expected PyTorch >= 2.2; got {found} from this Python environment (POLICY-001). "
        'Install it: pip install "torch>=2.2".'
    )


_require_torch()
