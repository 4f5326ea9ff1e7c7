"""The PyTorch Lightning backend.

Rule POLICY-001: PyTorch >= 2.2 is required, and importing this package without it fails. The check reads what
is installed and imports nothing: torch and lightning load with the modules that compute.
"""

import os
import re
import sys
from importlib import util
from pathlib import Path

_REQUIRED = (2, 2)
_WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
"""Variables by which a user says how idle threads wait."""


def _installed() -> str | None:
    """The version of the torch that an import would find; None without one."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:  # its metadata take milliseconds to find
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^__version__ = ['\"](.+)['\"]", text, re.MULTILINE)
    return found[1] if found else "of an unknown version"


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


def _wait_passively() -> None:
    """Let idle threads of torch sleep, where nobody said how they wait and torch is not loaded yet.

    They spin by default, which on a busy machine makes several threads slower than one; see docs/decisions/threads.md.
    OpenMP reads the variable once, when torch loads it. It stays set: the processes of a run need it as well.
    """
    if "torch" not in sys.modules and _WAITING.isdisjoint(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


_require_torch()
_wait_passively()
