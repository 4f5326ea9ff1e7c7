"""Finding the checkpoint that a training recommends."""

from pathlib import Path

from ptycho.run_files import CHECKPOINTS
from ptycho_torch.runs.checkpoints import best


def find_best_checkpoint(run_dir: str | Path) -> Path | None:
    """The best checkpoint in the folder of a training, by the metric that it monitors.

    Args:
        run_dir: the folder, which may have been moved or copied.

    Returns:
        The file; the latest checkpoint where no best one is kept; None where there is no checkpoint. A damaged one, or
        one whose weights are not finite, is passed over.

    Raises:
        ConfigError: each is damaged or not finite.
    """
    folder = Path(run_dir) / CHECKPOINTS
    return best(folder) if any(folder.glob("*.ckpt")) else None
