"""Reading and writing JSON files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ptycho.atomic import atomic_write
from ptycho.config.record import LARGEST
from ptycho.regular_files import read_regular


def read_json(path: Path) -> object:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is not JSON, too large, or too deeply nested.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        return json.loads(read_regular(path, LARGEST).decode())
    except RecursionError:
        raise ValueError("too deeply nested") from None


def write_json(path: Path, content: Any) -> Path:
    """Write indented JSON.

    JSON has no word for NaN and infinity: such a number becomes null, and in a mapping `NAME_reason` beside it
    tells which it was.
    """
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())
    return path


def _finite(value: Any) -> Any:
    """The value with plain finite numbers alone."""
    if type(value).__module__ == "numpy":  # its scalars and arrays, without loading it
        return _finite(value.tolist())
    if isinstance(value, Mapping):
        items: dict[str, Any] = {}
        for name, item in cast(Mapping[str, Any], value).items():
            items[name] = _finite(item)
            if items[name] is None and item is not None:
                items[f"{name}_reason"] = "not a number (NaN)" if math.isnan(item) else "infinite"
        return items
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast(list[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
