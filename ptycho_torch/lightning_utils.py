"""Finding the checkpoint that a training recommends."""

from pathlib import Path

import torch

from ptycho_torch.runtime import CHECKPOINTS, LAST


def find_best_checkpoint(run_dir: str | Path) -> Path | None:
    """The best checkpoint in the folder of a training: the one that its latest checkpoint names.

    Args:
        run_dir: the folder, which may have been moved.

    Returns:
        The file; the latest checkpoint where no best one is kept; None where there is none at all.
    """
    folder = Path(run_dir) / CHECKPOINTS
    files = sorted(folder.glob("*.ckpt"), key=lambda path: (path.stat().st_mtime_ns, path.stem == LAST))
    if not files:
        return None
    states = torch.load(files[-1], map_location="cpu", weights_only=True).get("callbacks", {})
    named = [state.get("best_model_path") for state in states.values() if isinstance(state, dict)]
    best = [folder / Path(path).name for path in named if path and Path(path).stem != LAST]
    return next((path for path in best if path.is_file()), files[-1])
