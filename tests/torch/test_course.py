"""The course of a reconstruction without a network: its plan, what it decides, and that it stops and goes on."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho.config.solver import SolverConfig
from ptycho.raw_data import DataError, RawData
from ptycho_torch.runs.plan import COUNTS, Facts, Plan, facts_of, overlap_problem, plan_of
from ptycho_torch.runs.solved import finish
from tests.refusals import message
from tests.torch.solving import course_of, scan_of

COARSE = {"nphotons": 3e3}
"""So few photons that a prior is due."""
ONE_PATTERN = {"n_positions": 1, "holdout_fraction": 0.0, "holdout": None}


@pytest.fixture(scope="module")
def whole(tiny_scan: RawData) -> RawData:
    """The scan with all its patterns free to be set aside."""
    return dataclasses.replace(tiny_scan, holdout=None)


def plan(*, due: bool = False, fits: bool | None = None, waited: int = 0, **settings: Any) -> Plan:
    return plan_of(SolverConfig(**settings), with_prior=due, probe_fits=fits, n_waited=waited)


def test_a_known_probe_is_followed_by_the_poisson_loss() -> None:
    assert plan(refine_probe=False) == Plan(50, 20, None, None, None, None, None, None)
    assert plan(fits=True) == Plan(50, 20, None, None, None, None, None, None)
    assert plan(refine_probe=False, due=True) == Plan(70, 20, None, None, None, 0, 0, None)
    assert plan(fits=True, due=True) == Plan(70, 20, None, None, None, 20, 20, None)


def test_a_refined_probe_keeps_to_amplitudes_until_a_prior_is_chosen() -> None:
    assert plan(refine_probe=True) == Plan(60, None, 3, None, None, 3, None, None, is_mild=True)
    assert plan(fits=False) == Plan(80, None, 20, None, None, 20, None, None, is_mild=True)
    assert plan(fits=False, prior="none") == Plan(80, None, 20, None, None, None, None, None)
    assert plan(fits=False, due=True) == Plan(220, 120, 20, None, None, 20, 120, None)


def test_the_probe_is_tested_before_anything_else_is_decided() -> None:
    assert plan() == Plan(80, None, None, None, None, None, None, 20)
    assert plan(n_iterations=10) == Plan(10, None, None, None, None, None, None, 5)
    assert plan(waited=10) == Plan(90, None, None, None, None, None, None, 30)
    assert plan(fits=True, waited=10) == Plan(60, 30, None, None, None, None, None, None)
    assert plan(fits=False, due=True, waited=10) == Plan(230, 125, 30, None, None, 30, 125, None)
    assert plan(n_iterations=50, waited=10) == Plan(50, None, None, None, None, None, None, 25)


def test_an_estimated_probe_is_refined_without_a_test() -> None:
    for due in (False, True):
        estimated = plan_of(SolverConfig(), with_prior=due, has_probe=False)
        assert estimated == plan(refine_probe=True, due=due)


def test_what_is_set_is_followed() -> None:
    chosen = plan(
        refine_probe=True, due=True, prior_weight=3.0, refine_positions=True, refine_intensities=True
    )
    assert chosen == Plan(220, 120, 3, 15, 3, 20, None, None)
    assert plan(refine_probe=True, loss="poisson").switch_at == 0
    assert plan(refine_probe=False, loss="amplitude").switch_at is None
    assert plan(refine_probe=False, n_iterations=9).switch_at == 3


def test_few_photons_or_wide_steps_need_a_prior() -> None:
    assert not Facts(1e4, 7.0, 28.0).need_prior
    assert not Facts(1e2, None, 28.0).need_prior
    assert Facts(100.0, 7.0, 28.0).need_prior
    assert Facts(1e4, 16.0, 22.0).need_prior


def test_patterns_that_do_not_overlap_are_told() -> None:
    assert overlap_problem(Facts(1e4, 7.0, 28.0)) is None
    assert "steps of 40.0 px with a probe of 22.0 px (overlap 0%)" in str(
        overlap_problem(Facts(1e4, 40.0, 22.0))
    )
    probe = np.ones((1, 8, 8), dtype=np.complex64)
    assert "a single one" in str(overlap_problem(facts_of(np.zeros((1, 2)), probe, 1.0)))
    grid = np.stack(np.meshgrid(np.arange(0, 40, 5.0), np.arange(0, 40, 5.0)), axis=-1).reshape(-1, 2)
    assert facts_of(grid, probe, 1.0).step_px == 5


@pytest.mark.parametrize(
    "changes", [{"step_px": 32.0, "n_positions": 20}, {"step_px": 32.0, **COARSE}, ONE_PATTERN]
)
def test_no_iterations_are_spent_on_patterns_that_do_not_overlap(
    changes: dict[str, Any], tiny_file: Path
) -> None:
    course = course_of(tiny_file, scan_of(**changes))
    assert course.plan == plan(refine_probe=False)
    while not course.is_done:
        course.advance()
    assert course.n_done == COUNTS[False, False]


def test_the_probe_of_the_file_is_kept_where_it_explains_the_patterns(
    tiny_file: Path, tiny_scan: RawData
) -> None:
    known = course_of(tiny_file, tiny_scan, prior="none")
    wrong = dataclasses.replace(tiny_scan, probe=np.roll(tiny_scan.probe, 3, axis=-1) * np.complex64(1j))
    wrong.probe[..., 10:14] *= 0.2
    guessed = course_of(tiny_file, wrong, prior="none")
    for course in (known, guessed):
        for _ in range(21):
            course.advance()
    assert (known.progress.probe_fits, known.plan.probe_from) == (True, None)
    assert (guessed.progress.probe_fits, guessed.plan.probe_from) == (False, 20)


@pytest.mark.parametrize("nphotons", [300, 3e3, 3e4])
def test_few_photons_are_no_reason_to_refine_a_probe(nphotons: float, tiny_file: Path) -> None:
    course = course_of(tiny_file, scan_of(N=64, n_positions=100, nphotons=nphotons), prior="none")
    while course.progress.probe_fits is None:
        course.advance()
    assert course.progress.probe_fits


def test_the_probe_is_not_blamed_for_an_object_that_is_still_far_from_its_end(tiny_file: Path) -> None:
    bright = scan_of(nphotons=1e8)
    course = course_of(tiny_file, bright)
    while course.progress.probe_fits is None:
        course.advance()
    assert (course.progress.probe_fits, course.plan.probe_from) == (True, None)
    assert course.plan.switch_at == 20 + course.progress.n_waited > 20
    hurried = course_of(tiny_file, bright, n_iterations=48)
    while hurried.n_done < 21:
        hurried.advance()
    assert (hurried.progress.probe_fits, hurried.progress.n_waited) == (False, 0)


def test_what_a_file_holds_out_is_never_fitted(tiny_file: Path, tiny_scan: RawData) -> None:
    assert tiny_scan.holdout is not None
    course = course_of(tiny_file, tiny_scan, n_iterations=4)
    while not course.is_done:
        course.advance()
    assert course.judged_are == "held out"
    assert set(course.judged) <= set(np.flatnonzero(tiny_scan.holdout))
    assert not set(np.flatnonzero(tiny_scan.holdout)) & set(course.fitted)
    assert not set(course.judged) & set(course.descent.fitted)
    assert course.figures()["n_patterns"] == len(course.judged)


def test_patterns_at_the_border_that_show_what_no_other_does_judge_nothing(
    tiny_file: Path, whole: RawData
) -> None:
    """Without this the probe of a sound scan is taken for a wrong one, and the picture for one that explains little."""
    distance = np.hypot(*(whole.positions_px - whole.positions_px.mean(axis=0)).T)
    border = distance > np.quantile(distance, 0.93)
    inside = distance < np.quantile(distance, 0.1)
    of_file = course_of(tiny_file, dataclasses.replace(whole, holdout=border | inside), n_iterations=1)
    np.testing.assert_array_equal(of_file.judged, np.flatnonzero(inside))
    np.testing.assert_array_equal(of_file.fitted, np.flatnonzero(~border & ~inside))
    aside = course_of(tiny_file, whole, n_iterations=1, holdout=0.3)
    assert len(aside.judged) == 21
    assert not border[aside.judged].any()


def test_what_is_set_aside_is_judged_before_it_is_fitted(tiny_file: Path, whole: RawData) -> None:
    course = course_of(tiny_file, whole, n_iterations=8, holdout=0.2, refine_probe=False)
    assert (course.judged_are, len(course.judged), course.last_from) == ("set aside", 14, 6)
    while course.n_done < 6:
        course.advance()
    assert not set(course.judged) & set(course.descent.fitted)
    judged = course.figures()
    while not course.is_done:
        course.advance()
    assert course.figures() == judged
    assert len(course.descent.fitted) == 70


def test_a_share_of_nothing_and_few_patterns_set_none_aside(tiny_file: Path, whole: RawData) -> None:
    course = course_of(tiny_file, whole, n_iterations=2, holdout=0)
    assert (course.judged_are, len(course.fitted), course.last_from) == ("fitted", 70, None)
    few = scan_of(n_positions=6, holdout=None)
    assert course_of(tiny_file, few, n_iterations=2).judged_are == "fitted"


def test_a_scan_that_holds_all_out_is_refused(tiny_file: Path, whole: RawData) -> None:
    all_out = dataclasses.replace(whole, holdout=np.ones(70, dtype=bool))
    with pytest.raises(DataError, match="got 70 that are all held out"):
        course_of(tiny_file, all_out)


def test_more_modes_than_can_be_made_are_refused(tiny_file: Path, tiny_scan: RawData) -> None:
    text = message(lambda: course_of(tiny_file, tiny_scan, probe_modes=7))
    assert re.fullmatch(r"solver\.probe_modes: .*got 7\. .*", text)


def test_a_weight_that_nothing_can_tell_is_refused(tiny_file: Path, whole: RawData) -> None:
    scaled = dataclasses.replace(whole, patterns=np.asarray(whole.patterns) * np.float32(1.37))
    text = message(lambda: course_of(tiny_file, scaled, prior="tv", holdout=0))
    assert text.startswith("solver.prior_weight: auto needs photon counts, or patterns that are not fitted")
    assert not course_of(tiny_file, scaled, holdout=0).with_prior


def test_the_weight_of_counts_is_chosen_by_thinning_and_of_others_by_what_is_set_aside(
    tiny_file: Path,
) -> None:
    raw = scan_of(**COARSE)
    scaled = dataclasses.replace(raw, patterns=np.asarray(raw.patterns) * np.float32(1.37))
    for scan, origin in ((raw, "count thinning"), (scaled, "patterns set aside")):
        course = course_of(tiny_file, scan, refine_probe=False, n_iterations=3)
        assert course.with_prior
        course.advance()
        assert course.progress.choice is not None
        assert course.progress.choice["origin"] == origin
        assert course.descent.prior_weight == course.progress.weight > 0


def test_a_number_skips_the_search(tiny_file: Path) -> None:
    course = course_of(tiny_file, scan_of(**COARSE), refine_probe=False, n_iterations=3, prior_weight=2.5)
    course.advance()
    assert (course.progress.choice, course.descent.prior_weight) == (None, 2.5)


GOING_ON = [
    pytest.param({"refine_probe": True, "refine_positions": True, "positions_from": 4}, {}, 9, id="refined"),
    pytest.param(
        {"refine_intensities": True, "probe_modes": 2}, {"holdout": None}, 23, id="tested and aside"
    ),
    pytest.param({"refine_probe": False}, {**COARSE, "holdout": None}, 11, id="prior"),
    pytest.param({"refine_probe": True}, COARSE, 14, id="prior and probe"),
]


@pytest.mark.parametrize(("settings", "changes", "stop"), GOING_ON)
def test_a_course_that_goes_on_ends_as_one_that_never_stopped(
    settings: dict[str, Any], changes: dict[str, Any], stop: int, tiny_file: Path, tmp_path: Path
) -> None:
    scan = scan_of(**changes)
    settings = {"n_iterations": 26, **settings}
    undisturbed, stopped, resumed = (course_of(tiny_file, scan, **settings) for _ in range(3))
    while not undisturbed.is_done:
        undisturbed.advance()
    while stopped.n_done < stop:
        stopped.advance()
    torch.save(stopped.snapshot(), tmp_path / "state.pt")
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    while not resumed.is_done:
        resumed.advance()
    one, other = undisturbed.descent.state, resumed.descent.state
    assert torch.equal(one.object, other.object)
    assert torch.equal(one.modes, other.modes)
    assert torch.equal(one.positions_px, other.positions_px)
    assert torch.equal(one.intensities, other.intensities)
    for course in (undisturbed, resumed):
        course.progress.seconds = 0.0
        for row in course.progress.rows:
            del row["seconds"]
    assert undisturbed.progress == resumed.progress
    assert undisturbed.figures() == resumed.figures()


def test_more_iterations_are_made_as_long_as_the_deviance_falls(
    tiny_file: Path, tiny_scan: RawData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COUNTS, (False, False), 30)  # too few
    course = course_of(tiny_file, tiny_scan, refine_probe=False)
    while not course.is_done:
        course.advance()
    rows = [row["deviance_per_pixel"] for row in course.progress.rows]
    assert (len(rows) - 30) % 20 == 0
    assert len(rows) > 30
    assert len(rows) == 30 + course.progress.n_more
    assert rows[-11] >= 0.99 * rows[-20]
    fixed = course_of(tiny_file, tiny_scan, refine_probe=False, n_iterations=30)
    while not fixed.is_done:
        fixed.advance()
    assert len(fixed.progress.rows) == 30


def test_a_picture_that_more_iterations_would_improve_comes_with_a_warning(
    tiny_file: Path, tiny_scan: RawData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for settings, is_told in (({"n_iterations": 16}, True), ({}, False)):
        course = course_of(tiny_file, tiny_scan, refine_probe=False, **settings)
        while not course.is_done:
            course.advance()
        finish(course, tmp_path, 0)
        assert ("Set n_iterations to auto, or above 16." in caplog.text) == is_told
        caplog.clear()


def test_a_mild_prior_holds_what_a_refined_probe_leaves_open(tiny_file: Path, tiny_scan: RawData) -> None:
    bright = dataclasses.replace(tiny_scan, patterns=tiny_scan.patterns * 10, probe=tiny_scan.probe * 10)
    for settings, weight in (({}, 10.0), ({"prior": "none"}, 0.0), ({"prior_weight": 3.0}, 3.0)):
        course = course_of(tiny_file, bright, refine_probe=True, **settings)
        for _ in range(5):
            course.advance()
        assert course.descent.prior_weight == weight


def test_patterns_that_judge_follow_their_neighbours(tiny_file: Path, tiny_scan: RawData) -> None:
    """A scan whose positions are all wrong in the same slowly varying way."""
    held = np.zeros(len(tiny_scan), dtype=bool)
    held[::9] = True
    wrong = tiny_scan.positions_px + 1.0 * np.sin(tiny_scan.positions_px[:, ::-1] / 12)
    scan = dataclasses.replace(tiny_scan, positions_px=wrong, holdout=held)
    course = course_of(tiny_file, scan, refine_probe=False, refine_positions=True, positions_from=5)
    for _ in range(60):
        course.advance()
    course.figures()
    found = course.descent.state.positions_px.numpy() - tiny_scan.positions_px
    error = found - found[~held].mean(axis=0)
    before = wrong - tiny_scan.positions_px
    before = before - before.mean(axis=0)
    assert np.square(error[held]).sum() < 0.3 * np.square(before[held]).sum()


def test_a_preview_changes_nothing(tiny_file: Path) -> None:
    scan = scan_of(nphotons=1e4)
    settings = {"n_iterations": 24, "refine_probe": True, "refine_positions": True, "positions_from": 5}
    objects = []
    for previews in (False, True):
        course = course_of(tiny_file, scan, **settings, refine_intensities=True, prior="auto")
        while not course.is_done:
            course.advance()
            if previews and not course.is_done:
                finish(course.copied(), tiny_file.parent, 0, is_whole=False)
        objects.append(course.descent.state.object)
    torch.testing.assert_close(*objects, rtol=0, atol=0)


@pytest.mark.parametrize("fault", ["positions", "intensities"])
def test_patterns_that_judge_are_refined_alone_and_change_nothing_else(
    fault: str, tiny_file: Path, tiny_scan: RawData
) -> None:
    rng, n = np.random.default_rng(2), len(tiny_scan)
    held = np.zeros(n, dtype=bool)
    held[::9] = True
    scan = dataclasses.replace(tiny_scan, holdout=held)
    if fault == "positions":
        scan = dataclasses.replace(scan, positions_px=scan.positions_px + rng.uniform(-0.7, 0.7, (n, 2)))
    else:
        flicker = rng.uniform(0.8, 1.2, (n, 1, 1)).astype(np.float32)
        scan = dataclasses.replace(scan, patterns=np.asarray(scan.patterns) * flicker)
    courses = [
        course_of(tiny_file, scan, n_iterations=60, refine_probe=False, **{f"refine_{fault}": refines})
        for refines in (False, True)
    ]
    for course in courses:
        while not course.is_done:
            course.advance()
    object_before = courses[1].descent.state.object.clone()
    plain, refined = (course.figures() for course in courses)
    assert refined["unexplained"] < 0.3 * plain["unexplained"]
    assert torch.equal(courses[1].descent.state.object, object_before)
    assert courses[1].figures()["r_factor"] == pytest.approx(refined["r_factor"], rel=0.01)
