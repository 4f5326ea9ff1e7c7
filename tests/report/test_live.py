"""Reports of runs that are under way, and their server."""

import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs import pace, solving
from ptycho_torch.runs.pace import PreviewPace
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.preview import PREVIEWED, middle
from ptycho_torch.runs.report.serving import Server
from ptycho_torch.runs.report.verdict import verdict_of
from ptycho_torch.runs.training import train
from ptycho_torch.simulate import simulate_scan
from tests.events import events_of
from tests.report.test_pages import pages

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]

SETTINGS = {
    "nepochs": 2, "n_unrolled_steps": 1, "n_filters_scale": 1, "accelerator": "cpu", "batch_size": 16,
    "enable_progress_bar": False, "n_groups": 48,
}  # fmt: skip


class Watching(Callback):
    """Keeps what the report of a training was after each epoch."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.pages, self.headlines, self.pictures = run_dir, [], [], []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pages.append((self.run_dir / "report.html").read_text())
        self.pictures.append((self.run_dir / "preview.png").read_bytes())
        self.headlines.append(verdict_of(read_contents(self.run_dir)).headline)


@pytest.mark.proves("preview_every", seen="a picture and a report after each epoch, or none until the end")
def test_a_training_under_way_has_a_report_and_a_line_for_each_epoch(
    scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Watching(tmp_path / "run")
    with caplog.at_level(logging.INFO, "ptycho_torch"):
        settings = SETTINGS | {"logger_backend": "tensorboard", "preview_every": 1}
        watched = train(create_training_payload(scan, tmp_path / "run", settings), callbacks=[seen])
    assert seen.headlines == ["Not finished"] * 2
    assert all("Not finished" in page and "<svg" in page for page in seen.pages)
    assert all("Amplitude of the object" in page for page in seen.pages)
    assert len(set(seen.pictures)) == 2
    assert "Not finished" not in (tmp_path / "run" / "report.html").read_text()
    lines = [record.getMessage() for record in caplog.records if "epoch " in record.getMessage()]
    told = [line for line in lines if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in told] == ["epoch 1/2", "epoch 2/2"]
    assert "train_loss" in told[0]
    assert re.search(r"R factor after epoch 1 0\.\d{3}, ", told[0])
    assert " left" in told[0]
    assert " left" not in told[1]
    events = events_of(tmp_path / "run")
    steps = [one.step for one in events.Images("object")]
    assert len(steps) == 3  # after each epoch, and at the end
    assert [one.step for one in events.Images("comparison")] == steps
    plain = train(create_training_payload(scan, tmp_path / "plain", SETTINGS | {"preview_every": 0}))
    for name, values in plain.module.state_dict().items():
        assert torch.equal(values, watched.module.state_dict()[name]), name
    with (
        np.load(tmp_path / "plain" / "preview.npz") as one,
        np.load(tmp_path / "run" / "preview.npz") as other,
    ):
        np.testing.assert_array_equal(one["object"], other["object"])


def test_the_progress_bar_of_a_training_tells_the_r_factor_of_its_latest_preview(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"enable_progress_bar": True, "preview_every": 1}
    train(create_training_payload(scan, tmp_path / "run", settings))
    assert re.search(
        r"epoch 2/2: .*train_loss \S+, .*R factor after epoch \d 0\.\d{3}", capsys.readouterr().err
    )


def test_previews_come_after_so_many_epochs_or_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [n for n in range(1, 10) if PreviewPace(3).is_due_after(n)] == [3, 6, 9]
    assert not any(PreviewPace(0).is_due_after(n) for n in range(1, 10))
    slow = PreviewPace("auto")
    assert not slow.is_due_after(1)
    monkeypatch.setattr(pace, "PREVIEW_S", 0.0)
    quick = PreviewPace("auto")
    assert quick.is_due_after(1)
    with quick.writing():
        time.sleep(0.05)
    assert not quick.is_due_after(2)  # 20 times as long as the first took


def test_a_preview_is_made_of_few_patterns_around_the_middle() -> None:
    scan = simulate_scan(N=32, n_positions=400)
    chosen = middle(scan, PREVIEWED)
    assert len(chosen) == PREVIEWED
    where = scan.positions_px - (scan.positions_px.min(axis=0) + scan.positions_px.max(axis=0)) / 2
    away = np.hypot(*where.T)
    held = np.flatnonzero(scan.holdout)
    others = np.setdiff1d(np.arange(400), np.union1d(chosen, held))
    assert away[chosen].max() <= away[others].min()
    assert not np.intersect1d(chosen, held).size


@pytest.mark.proves("preview_every", seen="pictures after every second iteration of the solver, or none")
def test_a_reconstruction_with_previews_ends_in_the_same_bits(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "n_iterations": 24, "refine_probe": True, "refine_positions": True, "probe_modes": 2, "accelerator": "cpu",
        "logger_backend": "tensorboard",
    }  # fmt: skip
    pages_seen: list[str] = []
    written = solving.save_preview

    def kept(course: Any, folder: Path, *rest: Any) -> None:
        written(course, folder, *rest)
        pages_seen.append((folder / "report.html").read_text())
        assert (folder / "preview.png").is_file()

    plain = solving.solve(create_solver_payload(scan, tmp_path / "plain", settings | {"preview_every": 0}))[0]
    monkeypatch.setattr(solving, "save_preview", kept)
    watched = solving.solve(
        create_solver_payload(scan, tmp_path / "watched", settings | {"preview_every": 2})
    )[0]
    assert len(pages_seen) == 11  # after the last iteration there is the result
    assert all("Not finished" in page and "Amplitude of the object" in page for page in pages_seen)
    np.testing.assert_array_equal(plain.object, watched.object)
    np.testing.assert_array_equal(plain.positions_px, watched.positions_px)
    assert "Not finished" not in (tmp_path / "watched" / "report.html").read_text()
    assert not (tmp_path / "watched" / "preview.png").exists()
    events = events_of(tmp_path / "watched")
    assert [one.step for one in events.Images("object")] == [*range(2, 24, 2), 24]
    assert [one.step for one in events.Images("comparison")] == [24]
    assert events.Scalars("r_factor")[-1].value == pytest.approx(watched.metrics["r_factor"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "report.html") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(url: str, **options: Any) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", {}


def test_the_server_shows_the_report_and_nothing_else(server: Server) -> None:
    status, text, head = asked(server.url)
    assert (status, head["Refresh"]) == (200, "2")
    assert "No report yet" in text
    server.path.write_text("<p>first")
    status, text, head = asked(server.url)
    assert (status, text) == (200, "<p>first")
    assert "Refresh" not in head
    assert asked(server.url, method="HEAD")[2]["ETag"] == head["ETag"]
    (server.path.parent / "other.html").write_text("secret")
    for place in ("other.html", "../etc/passwd", "report.html"):
        assert asked(server.url + place)[0] == 404
    assert asked(server.url, headers={"Host": f"elsewhere.example:{server.server_port}"})[0] == 404
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.skipif(pages.browser_path() is None, reason="needs Chromium: apt-get install chromium")
def test_a_page_that_is_watched_is_loaded_again(server: Server, home: Path) -> None:
    page = (home / "solved" / "report.html").read_text()
    server.path.write_text(page)
    with pages.open_browser() as browser:
        sheet = browser.new_page()
        sheet.goto(server.url)
        sheet.wait_for_timeout(2500)  # it asks once a second
        server.path.write_text(page.replace("<h1>", "<h1>Another "))
        sheet.locator("h1", has_text="Another").wait_for(timeout=20000)
