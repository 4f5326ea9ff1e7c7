"""Pages made from runs: the report of one, and several side by side."""

import base64
import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from ptycho.config.errors import printable
from ptycho.config.fields import text
from ptycho.config.origins import Origin
from ptycho.display import is_changed, settings_html
from ptycho_torch.runs.figures import parts_of
from ptycho_torch.runs.report.contents import DATA, Contents, goes_on, is_finished
from ptycho_torch.runs.report.pictures import (
    LARGEST_BYTES,
    Shown,
    curves,
    pattern_pictures,
    positions_map,
    probe_pictures,
    shown_part,
    small_picture,
)
from ptycho_torch.runs.report.verdict import costs_of, figures_of, further_figures_of, verdict_of

MOST_MODES: Final = 8
"""Modes of a probe that are shown."""
_PLACES: Final = (*DATA, "model_path", "output_dir")
_HOME: Final = "ptycho_torch.runs.report"


class Pattern(NamedTuple):
    """A pattern, measured and predicted."""

    number: int
    r_factor: float
    measured: str
    predicted: str


def report_page(run: Contents) -> str:
    """The report of a run, as one page."""
    arrays = run.arrays
    powers = arrays["probe_powers"].tolist() if "probe_powers" in arrays else None
    modes = probe_pictures(arrays["probe"][:MOST_MODES]) if "probe" in arrays else []
    return _render(
        "report.html",
        run=run,
        verdict=verdict_of(run),
        figures=figures_of(run),
        further=further_figures_of(run),
        costs=costs_of(run),
        parts=_parts(run),
        place=_place(run),
        comparison=run.comparison and small_picture(run.comparison),
        modes=modes,
        n_modes=len(arrays.get("probe", ())),
        powers=powers,
        map=_map(run),
        patterns=_patterns(run),
        drawings=_drawings(run),
        commands=_commands(run),
        settings=_table("Settings and their origins", run.settings.origins),
        changed=_table("Differences from the recipe", differences(run)),
        model=run.model,
        model_verdict=run.model and verdict_of(run.model),
        model_drawings=_drawings(run.model) if run.model else [],
        model_changed=run.model and _table("Differences from the recipe", differences(run.model)),
    )


def comparison_page(runs: Sequence[Contents]) -> str:
    """Several runs side by side: verdicts, figures, objects with one zoom, and the settings that differ."""
    largest_bytes = LARGEST_BYTES // len(runs)
    figures = [{one.name: one for one in figures_of(run)} for run in runs]
    costs = [{one.name: one for one in costs_of(run)} for run in runs]
    return _render(
        "compare.html",
        runs=runs,
        labels=_labels([run.folder.resolve() for run in runs]),
        verdicts=[verdict_of(run) for run in runs],
        names=list(dict.fromkeys(name for found in figures for name in found)),
        figures=figures,
        cost_names=list(dict.fromkeys(name for found in costs for name in found)),
        costs=costs,
        parts=[_parts(run, largest_bytes) for run in runs],
        places=[_place(run) for run in runs],
        settings=_unequal(runs),
        apart=sorted({table for run in runs for table in run.settings.tables} - _shared_tables(runs)),
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    """Short names of folders, in which all of them differ."""
    base = os.path.commonpath([folder.parent for folder in folders])
    return [str(folder.relative_to(base)) for folder in folders]


def differences(run: Contents) -> dict[str, Origin]:
    """Settings of a run that are not those of its recipe, by `table.name`."""
    return {
        name: origin
        for name, origin in run.settings.origins.items()
        if is_changed(name, origin) and name.rpartition(".")[2] not in _PLACES
    }


def _shared_tables(runs: Sequence[Contents]) -> set[str]:
    return set.intersection(*(set(run.settings.tables) for run in runs))


def _unequal(runs: Sequence[Contents]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: name, and the value of each with its origin."""
    tables = _shared_tables(runs)
    names = dict.fromkeys(
        name
        for run in runs
        for name in run.settings.origins
        if name.partition(".")[0] in tables and name.rpartition(".")[2] != "output_dir"
    )
    rows: list[tuple[str, list[str]]] = []
    for name in names:
        origins = [run.settings.origins.get(name) for run in runs]
        values = [origin and text(origin.value) for origin in origins]
        if len(set(values)) > 1:
            told = [f"{text(origin.value)} ({origin})" if origin else "not set" for origin in origins]
            rows.append((name, told))
    return rows


def _table(title: str, origins: Mapping[str, Origin]) -> Markup | None:
    """A table of settings; None where there are none."""
    return Markup(settings_html(title, origins)) if origins else None  # its cells are escaped


def _parts(run: Contents, largest_bytes: int = LARGEST_BYTES) -> list[Shown]:
    if "object" not in run.arrays or not run.arrays["object"].size:
        return []
    light = _light(run)
    size_m = run.arrays.get("object_pixel_size_m")
    pixel_nm = float(size_m[0]) * 1e9 if size_m is not None and size_m.size else None
    return [shown_part(part, pixel_nm, largest_bytes) for part in parts_of(run.arrays["object"], light)]


def _light(run: Contents) -> NDArray[np.float32] | None:
    """Illumination of the object; None where the run tells none of its shape."""
    light = run.arrays.get("coverage")
    return light if light is not None and light.shape == run.arrays["object"].shape else None


def _place(run: Contents) -> list[int]:
    """Row and column of the first pixel of the object."""
    return [int(each) for each in run.arrays.get("corner_px", (0, 0))]


def _map(run: Contents) -> Markup | None:
    positions = run.patterns.get("positions_px", run.arrays.get("positions_px"))
    if positions is None or not len(positions):
        return None
    light = _light(run) if "object" in run.arrays else None
    return positions_map(
        "Scan positions on the illuminated part of the object",
        positions,
        run.patterns.get("looked_at", positions[:0, 0].astype(int)),
        run.patterns.get("r_factor", positions[:0, 0]),
        None if light is None else (light, _place(run)),
    )


def _patterns(run: Contents) -> list[Pattern]:
    """What was kept of patterns, the worst first."""
    kept = run.patterns
    if "measured" not in kept or not {"index", "predicted", "valid", "looked_at", "r_factor"} <= kept.keys():
        return []
    known = dict(zip(kept["looked_at"].tolist(), kept["r_factor"].tolist(), strict=True))
    return [
        Pattern(number, known.get(number, float("nan")), *pattern_pictures(measured, predicted, valid=valid))
        for number, measured, predicted, valid in zip(
            kept["index"].tolist(), kept["measured"], kept["predicted"], kept["valid"], strict=True
        )
    ]


def _drawings(run: Contents) -> list[Markup]:
    if run.is_training:
        losses = {"train_loss": "training", "val_loss": "validation"}
        drawn = [
            curves("Loss over epochs", run.history, "epoch", losses, "loss", first=1),
            curves(
                "Learning rate over epochs",
                run.history,
                "epoch",
                {"learning_rate": "learning rate"},
                "learning rate",
                first=1,
            ),
        ]
    else:
        drawn = [
            curves(
                "Deviance of the fitted patterns over iterations",
                run.history,
                "iteration",
                {"deviance_per_pixel": "deviance"},
                "deviance per pixel",
                first=0,
            )
        ]
    return [one for one in drawn if one is not None]


def _commands(run: Contents) -> dict[str, str]:
    """Command lines for a shell: what repeats the run, and what it was started and continued with."""
    configuration, home = run.record["configuration"], str(run.run_dir.resolve())
    places = [configuration.get(name) for name in ("model_path", *DATA)]
    words = [str(place) for place in places if isinstance(place, str)]
    command = "train" if run.is_training else "reconstruct"
    words = ["ptycho", command, *words[: 1 if run.is_training else 2], "--config", home]
    commands = {"To repeat it": shlex.join([*words, "--output-dir", f"{home}-again"])}
    if not is_finished(run) and goes_on(run):
        commands = {"To go on with it": shlex.join(["ptycho", command, "--resume", home])} | commands
    if run.is_training and run.data is not None:
        commands["To reconstruct a scan with its model"] = shlex.join(
            ["ptycho", "reconstruct", home, run.data]
        )
    parts = [("Started", run.record), *(("Continued", part) for part in run.record.get("resumed") or ())]
    typed = [(f"{how} {word}", line) for how, part in parts for word, line in _typed(part)]
    for heading, _ in typed:
        commands[heading] = "\n".join(dict.fromkeys(line for other, line in typed if other == heading))
    return commands


def _typed(part: object) -> Iterator[tuple[str, str]]:
    """The command line of a part of a run, after 'as' or 'by'; nothing where none is known."""
    told = cast(dict[str, Any], part).get("command_line") if isinstance(part, dict) else None
    program, *rest = map(str, cast(list[Any], told)) if isinstance(told, list) and told else [""]
    if Path(program).name in ("ptycho", "__main__.py"):
        yield "as", shlex.join(["ptycho", *rest])
    elif program.endswith(".py"):
        yield "by", shlex.join(["python", program, *rest])


def _render(template: str, **values: Any) -> str:
    rules, script = (_asset(name) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template(template)
    html = page.render(rules=Markup(rules), script=Markup(script), script_sha256=digest, **values)
    return "\n".join(map(printable, html.split("\n")))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(_HOME),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return files(_HOME).joinpath("templates", name).read_text(encoding="ascii")
