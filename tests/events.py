"""What a run has sent to TensorBoard."""

from pathlib import Path
from typing import Any

import pytest


def events_of(run_dir: Path) -> Any:
    """What a run has sent to TensorBoard."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    place = run_dir / "logs" / "tensorboard" / "version_0"
    events = accumulator.EventAccumulator(str(place), size_guidance={"images": 0})
    events.Reload()
    return events
