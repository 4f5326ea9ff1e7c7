"""The knobs of PyTorchExecutionConfig as plain data, what is said about them, and the answer to it."""

from pathlib import Path
from typing import Any, NamedTuple

PREFIX = "PTYCHO_EXEC_"
FILE = {
    "accelerator": "gpu",
    "learning_rate": 0.0005,
    "early_stop_patience": 20,
    "num_workers": 8,
    "gradient_clip_val": 1.0,
    "scheduler": "Exponential",
}
ENVIRONMENT = {
    "PTYCHO_EXEC_NUM_WORKERS": "4",
    "PTYCHO_EXEC_PERSISTENT_WORKERS": "true",
    "PTYCHO_EXEC_PRECISION": "bf16-mixed",
    "PTYCHO_EXEC_N_DEVICES": "2",
}
ARGUMENTS = {"learning_rate": 3e-4, "n_devices": 4}
ALL_ARGUMENTS = {
    **FILE,
    **ARGUMENTS,
    "num_workers": 4,
    "persistent_workers": True,
    "precision": "bf16-mixed",
}
"""The whole answer as arguments: for a construction, which reads no file."""


class Knob(NamedTuple):
    """One knob: its default, and what it accepts; None is accepted where it is the default."""

    default: Any
    kind: str = ""
    """flag, text, or a number: count (>= 0), positive (an integer >= 1), least (>= -1), rate (> 0), share ([0, 1))."""
    words: tuple[str, ...] = ()


KNOBS = {
    "accelerator": Knob("auto", words=("auto", "cpu", "gpu", "cuda", "mps", "tpu")),
    "strategy": Knob(
        "auto",
        words=(
            "auto",
            "ddp",
            "ddp_spawn",
            "ddp_notebook",
            "ddp_find_unused_parameters_true",
            "fsdp",
            "deepspeed",
        ),
    ),
    "n_devices": Knob(1, "positive", ("auto",)),
    "deterministic": Knob(True, "flag", ("warn",)),
    "precision": Knob("32-true", words=("32-true", "16-mixed", "bf16-mixed", "64-true")),
    "num_nodes": Knob(1, "positive"),
    "seed": Knob(42, "count"),
    "ddp_backend": Knob("auto", words=("auto", "nccl", "gloo", "mpi")),
    "ddp_find_unused_parameters": Knob(False, "flag"),
    "ddp_static_graph": Knob(True, "flag"),
    "ddp_gradient_as_bucket_view": Knob(True, "flag"),
    "num_workers": Knob(0, "count"),
    "pin_memory": Knob(False, "flag"),
    "persistent_workers": Knob(False, "flag"),
    "prefetch_factor": Knob(None, "positive"),
    "val_split": Knob(0.05, "share"),
    "val_split_seed": Knob(42, "count"),
    "drop_last_batch": Knob(False, "flag"),
    "learning_rate": Knob(1e-3, "rate"),
    "scheduler": Knob("Default", words=("Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine")),
    "gradient_clip_val": Knob(None, "rate"),
    "gradient_clip_algorithm": Knob("norm", words=("norm", "value")),
    "accum_steps": Knob(1, "positive"),
    "enable_checkpointing": Knob(True, "flag"),
    "checkpoint_save_top_k": Knob(1, "least"),
    "checkpoint_monitor_metric": Knob("val_loss", "text"),
    "checkpoint_mode": Knob("min", words=("min", "max")),
    "early_stop_patience": Knob(100, "positive"),
    "check_val_every_n_epoch": Knob(1, "positive"),
    "save_last_checkpoint": Knob(True, "flag"),
    "enable_progress_bar": Knob(False, "flag"),
    "logger_backend": Knob(None, words=("csv", "tensorboard", "wandb", "mlflow")),
    "disable_mlflow": Knob(False, "flag"),
    "preview_every": Knob("auto", "count", ("auto",)),
    "inference_batch_size": Knob(None, "positive"),
    "middle_trim": Knob(0, "count"),
    "pad_eval": Knob(False, "flag"),
    "reconstruction_window": Knob(20, "count"),
}
ANSWER = {name: knob.default for name, knob in KNOBS.items()} | ALL_ARGUMENTS


def write_files(folder: Path) -> None:
    """Write the one file in every format that a peer reads, and hydra's, which names the variables itself."""
    lines = {name: f'"{value}"' if isinstance(value, str) else value for name, value in FILE.items()}
    (folder / "knobs.toml").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
    (folder / "knobs.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    from_file = FILE | {"persistent_workers": "false", "precision": "32-true", "n_devices": 1}
    for name, values in (("knobs", from_file), ("no_file", {k: v.default for k, v in KNOBS.items()})):
        text = "defaults: [schema, _self_]\n"
        for knob, value in values.items():
            variable = f"{PREFIX}{knob.upper()}"
            if variable in ENVIRONMENT:
                value = f"${{oc.decode:${{oc.env:{variable},{str(value).lower()}}}}}"
            text += f"{knob}: {value}\n" if name == "knobs" or variable in ENVIRONMENT else ""
        (folder / f"hydra_{name}.yaml").write_text(text)
