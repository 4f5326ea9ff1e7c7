"""Configurations as plain values: what JSON can hold and a checkpoint can carry without executing anything."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def plain(value: Any) -> Any:
    """Turn dataclasses and mappings into dicts, sequences and tensors into lists, paths into text; at any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Tensor):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value
