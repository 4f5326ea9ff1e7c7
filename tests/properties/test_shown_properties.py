"""What `ptycho config show` writes as a file comes to the same settings again, with any recipe."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ptycho_torch.cli.main import main
from tests.properties.fields import FIELDS, KNOBS
from tests.properties.written import FORMATS, Case, Said, cases, examples

OF_DATA = ("N", "nphotons")
"""Fields that the data tell, whatever a file sets."""
NONE_BESIDE_THE_RECIPE = Case(
    {"flags": {"gradient_clip_val": Said("--gradient-clip-val=none", None, True)}}, "toml"
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def shown(*words: str) -> tuple[int, str]:
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = main(["config", "show", "train", *words])
    return code, out.getvalue()


def values(*words: str) -> dict[str, Any]:
    code, out = shown(*words, "--json")
    assert code == 0
    return {name: origin["value"] for name, origin in json.loads(out)["origins"].items() if origin["known"]}


@examples(0.2)
@example(case=NONE_BESIDE_THE_RECIPE, suffix="toml", recipe="demo")
@given(
    cases([name for name in FIELDS | KNOBS if name not in OF_DATA], ("flags",)),
    st.sampled_from(FORMATS),
    st.sampled_from(["standard", "demo", "none"]),
)
def test_what_is_shown_reads_back_equal(folder: Path, case: Case, suffix: str, recipe: str):
    words = (case.values("flags") or {}).values()
    code, out = shown(*words, f"--{suffix}")
    assume(code == 0)
    file = folder / f"shown.{suffix}"
    file.write_text(out, encoding="utf-8")
    before, after = values(*words), values("--config", str(file), "--recipe", recipe)
    if (place := before.get("training.output_dir")) is not None:  # in a file it is from the root
        before["training.output_dir"] = str(Path(place).absolute())
    assert after == before
