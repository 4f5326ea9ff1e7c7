"""What notebooks show of scans, settings, runs and reconstructions, with the colours of the page around them."""

import base64
import sys
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, Protocol, cast

from ptycho.config.errors import printable
from ptycho.config.origins import Origin
from ptycho.config.record import FOUND
from ptycho.config.render import CELL, LINE, TABLE, Row, html
from ptycho.config.section import TABLES, recorded, section_of_table
from ptycho.judgement import NOTICED, Judgement, judgement, recorded_judgement
from ptycho.memory import size_text
from ptycho.model_archive import PROBLEM
from ptycho.regular_files import read_regular
from ptycho.run_files import LOSS_PICTURE, OF_RECONSTRUCTION, REPORT
from ptycho.scan_view import ScanView
from ptycho.wording import counted, duration, short

LARGEST_PICTURE: Final = 2 * 2**20
"""Bytes of a picture that is put into a notebook."""
LARGEST_PAGE: Final = 16 * 2**20
"""The same of a page."""
_UNITS: Final = {"db": "dB", "px": "px"}
"""End of the name of a figure -> its unit."""
_FRAME: Final = "width:100%;height:80vh;min-height:480px;border:1px solid rgba(128,128,128,.4)"


def table_html(title: str, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table as HTML; the first cell of a row is its name.

    Args:
        title: above it.
        rows: the cells of each line; everything in them is text.
        head: names of the columns.
    """
    caption = f'<caption style="{CELL}bold;caption-side:top">{escape(title)}</caption>'
    names = "".join(f'<th scope="col" style="{CELL}bold">{escape(name)}</th>' for name in head)
    parts = [f'<table style="{TABLE}">{caption}']
    parts += [f'<thead><tr style="{LINE}none">{names}</tr></thead>'] if head else []
    for name, *cells in rows:
        written = f'<th scope="row" style="{CELL}bold">{_text(name)}</th>'
        written += "".join(f'<td style="{CELL}normal">{_text(cell)}</td>' for cell in cells)
        parts.append(f'<tr style="{LINE}none">{written}</tr>')
    return "".join(parts) + "</table>"


def settings_html(title: str, origins: Mapping[str, Origin]) -> str:
    """A table of settings as HTML; those that somebody changed are marked.

    Args:
        title: above it.
        origins: `section.field` -> value and origin.
    """
    named = ((*whole.partition("."), is_changed(whole, origin), origin) for whole, origin in origins.items())
    return html(title, (Row(table, name, origin, changed) for table, _, name, changed, origin in named))


def is_changed(whole: str, origin: Origin) -> bool:
    """Whether somebody chose a setting, and not as the recipe has it, or without a recipe as its default is.

    Args:
        whole: `section.field`.
        origin: its value, and where that is from.
    """
    if origin.kind in ("default", "recipe", *FOUND):
        return False
    table, _, name = whole.partition(".")
    otherwise = [beaten.value for beaten in origin.shadowed if beaten.kind == "recipe"]
    if not otherwise and table in TABLES:
        otherwise = [recorded(section_of_table(table).defaults.get(name))]
    return origin.value not in otherwise[:1]


class Training(Protocol):
    """What is shown of a training."""

    @property
    def run_dir(self) -> Path: ...
    @property
    def history(self) -> Sequence[Mapping[str, float | None]]: ...
    @property
    def problem(self) -> str | None: ...


class Reconstruction(Protocol):
    """What is shown of a reconstruction."""

    @property
    def run_dir(self) -> Path: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def problem(self) -> str | None: ...


def training_html(training: Training) -> str:
    """A training: its last losses and their picture."""
    last: Mapping[str, float | None] = training.history[-1] if training.history else {}
    rows: list[tuple[str, object]] = [
        ("verdict", recorded_judgement(training.run_dir, "training").text),
        ("epochs", len(training.history)),
        *((name, last.get(name)) for name in ("train_loss", "val_loss")),
    ]
    return _run_html("training", rows, training, LOSS_PICTURE)


def reconstruction_html(reconstruction: Reconstruction) -> str:
    """A reconstruction: its figures and its picture."""
    listed = [
        worded_figure(name, value)
        for name, value in reconstruction.metrics.items()
        if name not in (PROBLEM, NOTICED) and value not in (None, [])
    ]
    rows = [("verdict", _verdict_on(reconstruction).text), *listed]
    return _run_html("reconstruction", rows, reconstruction, OF_RECONSTRUCTION[1])


def training_line(training: Training) -> str:
    """A training on one line: where it is, its last losses, and its verdict."""
    history = training.history
    told = [counted(len(history), "epoch"), *_losses(history[-1] if history else {})]
    return _line(training, told, recorded_judgement(training.run_dir, "training"))


def reconstruction_line(reconstruction: Reconstruction) -> str:
    """A reconstruction on one line: where it is, its R factor, and its verdict."""
    figures = reconstruction.metrics
    told = [counted(figures["n_iterations"], "iteration")] if "n_iterations" in figures else []
    if isinstance(found := figures.get("r_factor"), float):
        told.append(f"R factor {found:.4f} ({figures.get('patterns')} patterns)")
    return _line(reconstruction, told, _verdict_on(reconstruction))


def _line(run: Training | Reconstruction, told: Iterable[str], verdict: Judgement) -> str:
    headline = verdict.headline[0].lower() + verdict.headline[1:]
    return f"{type(run).__name__}({', '.join([printable(str(run.run_dir)), *told])}: {headline})"


def _losses(row: Mapping[str, float | None]) -> list[str]:
    losses = ((name, row.get(name)) for name in ("train_loss", "val_loss"))
    return [f"{name} {value:.4g}" for name, value in losses if value is not None]


def _verdict_on(reconstruction: Reconstruction) -> Judgement:
    figures = reconstruction.metrics
    kind = "solver" if "n_iterations" in figures else "network"
    return judgement(figures, kind, problem=reconstruction.problem)


def worded_figure(name: str, value: object) -> tuple[str, object]:
    """A figure as tables have it: its name in words, and the value with its unit."""
    if isinstance(value, list):
        return _in_words(name), ", ".join(map(short, cast(list[object], value)))
    if isinstance(value, int | float):
        if name == "seconds":
            return "time", duration(value)
        if name.endswith("_bytes"):
            return _in_words(name.removesuffix("_bytes")), size_text(value)
        unit = next((unit for unit in _UNITS if name.endswith(f"_{unit}")), None)
        if unit is not None:
            return _in_words(name.removesuffix(f"_{unit}")), f"{value:.4g} {_UNITS[unit]}"
    return _in_words(name), value


def _in_words(name: str) -> str:
    return (f"number_of_{name[2:]}" if name.startswith("n_") else name).replace("_", " ")


def scan_html(scan: ScanView) -> str:
    """A scan: its patterns, positions and probe."""
    n, height, width = scan.patterns.shape
    low, high = scan.positions_px.min(axis=0), scan.positions_px.max(axis=0)
    n_held = None if scan.holdout is None else int(scan.holdout.sum())
    rows: list[tuple[str, object]] = [
        ("patterns", f"{n} of {height} x {width} pixels, {scan.patterns.dtype}"),
        ("read as", f"{scan.domain} ({scan.domain_reason})"),
        ("positions", f"y {low[0]:.4g} to {high[0]:.4g}, x {low[1]:.4g} to {high[1]:.4g} (object pixels)"),
        ("probe", f"{len(scan.probe)} modes" if len(scan.probe) > 1 else "1 mode"),
        ("held out", n_held and counted(n_held, "pattern")),
        ("known object", "yes" if scan.object_truth is not None else None),
        ("file", scan.path or "in memory alone"),
    ]
    return table_html("scan", [row for row in rows if row[1] is not None])


def _run_html(
    title: str, rows: Iterable[tuple[str, object]], run: Training | Reconstruction, picture: str
) -> str:
    """A finished run: figures, what is wrong with it, where it is, and a picture of its folder."""
    report = run.run_dir / REPORT
    told = [(name.replace("_", " "), value) for name, value in rows]
    told += [
        ("folder", run.run_dir),
        ("report", report if report.is_file() else None),
    ]
    shown = [row for row in told if row[1] is not None]
    return table_html(title, shown) + picture_html(run.run_dir / picture, title)


def picture_html(path: Path, words: str) -> str:
    """A PNG file as HTML that needs no file; nothing where it is missing or too large.

    Args:
        path: of the file.
        words: what it shows.
    """
    try:
        content = read_regular(path, LARGEST_PICTURE)
    except (OSError, ValueError):
        return ""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<img style="max-width:100%" src="{source}" alt="{escape(words)}">'


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows what it is given."""
    return _notebook() is not None


def show_page(path: Path) -> None:
    """Show a page: within a notebook, and elsewhere in the web browser, if there is one, and by its path.

    Args:
        path: of an HTML file that needs no other file.

    Raises:
        FileNotFoundError: it is not there.
    """
    page = read_regular(path, LARGEST_PAGE).decode()
    if (shell := _notebook()) is None:
        print(path)
        webbrowser.open(path.resolve().as_uri())
        return
    frame = f'<iframe srcdoc="{escape(page)}" sandbox="allow-scripts" title="{escape(str(path))}" style="{_FRAME}">'
    shell.display_pub.publish({"text/html": f"{frame}</iframe>", "text/plain": str(path)})


def _notebook() -> Any:
    """The shell of the notebook that this process computes for; None where it does not."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def _text(cell: object) -> str:
    return escape(short(cell))
