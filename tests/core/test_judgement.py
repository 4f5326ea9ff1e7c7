"""Figures of runs in words."""

import json
from pathlib import Path

import pytest

from ptycho.judgement import AS_NOTICED, CAUSES, Judgement, judgement, predicts_others, recorded_judgement
from ptycho.wording import counted, duration

GOOD = {
    "r_factor": 0.05,
    "mean_pattern_r_factor": 0.25,
    "poisson_deviance_per_pixel": 1.1,
    "mean_pattern_poisson_deviance_per_pixel": 90.0,
    "noise_poisson_deviance_per_pixel": 1.0,
    "unexplained": 0.001,
    "noticed": [],
}
NOTICED = {"name": "extent", "sentence": "the positions span 3 px", "remedy": "Set positions_unit."}


def levels(**changes: object) -> str:
    return judgement(GOOD | changes, "solver").level


def test_a_picture_that_leaves_photon_noise_is_good_and_has_no_causes() -> None:
    found = judgement(GOOD | {"noticed": [NOTICED]}, "solver")
    assert (found.level, found.causes) == ("good", ())
    assert "1.1 times photon noise" in found.reason
    assert "few photons" not in found.reason
    assert "few photons" in judgement(GOOD | {"r_factor": 0.3}, "solver").reason


def test_what_may_explain_more_is_named_where_much_beyond_noise_is_left() -> None:
    left = GOOD | {"poisson_deviance_per_pixel": 9.0, "unexplained": 0.03}
    plain = left | {"refined": ["probe"], "probe_mode_powers": [1.0]}
    names = "refine_positions or probe_modes or refine_intensities"
    assert judgement(plain, "solver").level == "good"
    assert judgement(plain, "solver").reason.endswith(f" {names} may explain more of it.")
    more = plain | {"refined": ["positions", "intensities"], "probe_mode_powers": [0.8, 0.2]}
    for figures in (left, more, plain | {"poisson_deviance_per_pixel": 4.9}, plain | {"refined": "all"}):
        assert "may explain" not in judgement(figures, "solver").reason


def test_fitted_patterns_do_not_judge_a_picture() -> None:
    found = judgement(GOOD | {"patterns": "fitted"}, "solver")
    assert (found.level, found.causes) == ("open", ())
    assert "holdout" in found.reason
    few = judgement(GOOD | {"patterns": "fitted", "n_patterns": 3}, "solver")
    assert few.reason.endswith(" 3 are too few to set some aside.")
    assert judgement(GOOD | {"patterns": "set aside"}, "solver").level == "good"
    assert judgement(GOOD | {"patterns": "fitted", "unexplained": 0.6}, "solver").level == "doubtful"


@pytest.mark.parametrize(
    "changes",
    [
        {"unexplained": 0.6},
        {"unexplained": 0.25, "poisson_deviance_per_pixel": 8.0},
        {"unexplained": 0.12, "poisson_deviance_per_pixel": 2e3},
    ],
)
def test_a_picture_that_does_not_explain_its_data_is_never_good(changes: dict[str, float]) -> None:
    found = judgement(GOOD | changes | {"noticed": [NOTICED]}, "solver")
    assert found.level == "doubtful"
    assert found.causes[0] == "the positions span 3 px. Set positions_unit"
    assert any("positions of the wrong s" in cause for cause in found.causes)


@pytest.mark.parametrize(
    ("unexplained", "beyond_noise", "much"),
    [
        (0.02, 1.9, "all"),
        (0.09, 1.1, "all"),
        (0.063, 3.2, "most"),
        (0.12, 9.0, "most"),
        (0.22, 3.3, "a part"),
    ],
)
def test_how_much_of_the_patterns_a_picture_explains(
    unexplained: float, beyond_noise: float, much: str
) -> None:
    found = judgement(
        GOOD | {"unexplained": unexplained, "poisson_deviance_per_pixel": beyond_noise}, "solver"
    )
    said = "explains the patterns" if much == "all" else f"explains {much} of the patterns"
    assert (found.level, found.headline) == ("good" if much == "all" else "doubtful", f"The picture {said}")
    assert bool(found.causes) == (much != "all")


def test_a_picture_that_is_far_from_the_known_object_is_not_good() -> None:
    near, far = (
        {"amplitude_psnr_db": 19.0, "phase_psnr_db": 24.0},
        {"amplitude_psnr_db": 10.4, "phase_psnr_db": 13.4},
    )
    assert levels(**near) == "good"
    found = judgement(GOOD | far, "solver")
    assert (found.level, found.headline) == ("doubtful", "The picture differs from the known object")
    assert "Amplitude 10.4 dB, phase 13.4 dB" in found.reason
    assert found.causes


def test_a_picture_that_follows_the_noise_of_others_is_limited_by_the_dose() -> None:
    noisy = {
        "r_factor": 0.874, "mean_pattern_r_factor": 0.558, "poisson_deviance_per_pixel": 0.2624,
        "noise_poisson_deviance_per_pixel": 0.2835, "unexplained": 0.0, "deviance_per_unknown": 3.2,
        "photons_per_pattern": 2000.0,
    }  # fmt: skip
    found = judgement(GOOD | noisy, "solver")
    assert (found.headline, "(prior, prior_weight)" in found.causes[0]) == (
        "The dose limits the picture",
        True,
    )
    assert levels(**noisy | {"r_factor": 0.5}) == "good"


def test_causes_follow_from_what_is_left_and_from_what_was_not_refined() -> None:
    some, much = ({"unexplained": share, "poisson_deviance_per_pixel": 9.0} for share in (0.22, 0.95))
    alone = {"refined": [], "probe_mode_powers": [1.0]}
    first = {
        share["unexplained"]: judgement(GOOD | share | alone, "solver").causes[0] for share in (some, much)
    }
    assert first[0.22].startswith("positions that are not exact")
    assert first[0.95].startswith("positions of the wrong sign")
    strong = judgement(GOOD | much | alone | {"prior_weight_origin": "set"}, "solver").causes
    assert strong[0] == "a prior_weight that is too large"
    all_refined = {"refined": ["probe", "positions", "intensities"], "probe_mode_powers": [0.9, 0.1]}
    causes = judgement(GOOD | some | all_refined, "solver").causes
    assert not any("refine_" in cause or "probe_modes" in cause for cause in causes)
    assert any("(refine_probe)" in cause for cause in judgement(GOOD | some | alone, "solver").causes)


def test_a_domain_that_was_doubted_is_the_likeliest_cause() -> None:
    for beyond_noise in (5.0, 1e4):
        figures = GOOD | {"unexplained": 0.7, "poisson_deviance_per_pixel": beyond_noise}
        plain = judgement(figures, "solver").causes
        doubted = judgement(figures | {"noticed": [{"name": "measurement_domain"}]}, "solver").causes
        assert doubted[0].startswith("patterns read in the wrong measurement_domain")
        assert sum("wrong measurement_domain" in one for one in doubted) == 1
        assert sum("wrong measurement_domain" in one for one in plain) == 1


def test_a_picture_that_leaves_noise_alone_is_good_at_low_contrast() -> None:
    faint = {"poisson_deviance_per_pixel": 1.04, "mean_pattern_poisson_deviance_per_pixel": 1.25}
    found = judgement(GOOD | faint | {"unexplained": 0.16}, "solver")
    assert (found.level, found.causes) == ("good", ())


def test_a_training_that_went_on_has_not_ended(tmp_path: Path) -> None:
    (tmp_path / "wts.h5.zip").touch()
    (tmp_path / "training.json").write_text('{"n_epochs": 1}')
    for n_epochs, headline in ((1, "Not judged"), (3, "Not finished")):
        (tmp_path / "history.csv").write_text("epoch\n" + "1\n" * n_epochs)
        assert recorded_judgement(tmp_path, "training").headline == headline


def test_a_fit_that_was_going_on_is_not_good() -> None:
    found = judgement(GOOD | {"deviance_fall": 0.97, "poisson_deviance_per_pixel": 4.0}, "solver")
    assert (found.level, found.causes[0]) == ("doubtful", "too few iterations")
    assert "97%" in found.reason
    assert levels(deviance_fall=0.02, poisson_deviance_per_pixel=4.0) == levels(deviance_fall=0.97) == "good"
    for early in ({"deviance_fall": 0.59}, {"deviance_fall": 0.0, "n_iterations": 1}):
        left = GOOD | {"unexplained": 0.6, "poisson_deviance_per_pixel": 9.0} | early
        assert judgement(left, "solver").headline == "The fit has not come to its end"
        assert judgement(left, "network").causes[0] == "too few iterations"


def test_only_patterns_that_were_not_fitted_and_are_well_predicted_tell_of_overlap() -> None:
    assert predicts_others(GOOD | {"patterns": "set aside"})
    for changes in ({"patterns": "fitted"}, {"r_factor": 0.2}, {"unexplained": 0.2}):
        assert not predicts_others(GOOD | {"patterns": "set aside"} | changes)


def test_a_problem_is_not_repeated_as_its_own_cause() -> None:
    problem = f"{NOTICED['sentence']}. Scan in smaller steps"
    assert judgement(GOOD | {"noticed": [NOTICED]}, "solver", problem=problem).causes == ()


def test_the_causes_of_a_problem_are_listed_once() -> None:
    told = (
        f"the picture is not that of the object (R factor 0.3). {CAUSES}{AS_NOTICED} (extent); a wrong probe"
    )
    found = judgement(GOOD | {"noticed": [NOTICED]}, "solver", problem=told)
    assert found.reason == "The picture is not that of the object (R factor 0.3)."
    assert found.causes == ("the positions span 3 px. Set positions_unit", "a wrong probe")


def test_a_model_that_hardly_beats_the_mean_has_learned_little() -> None:
    share = {"r_factor": 0.199, "mean_pattern_r_factor": 0.252}  # of a training on patterns in another order
    assert judgement(share, "training").level == "doubtful"


def test_only_a_picture_by_a_network_is_blamed_on_its_training() -> None:
    causes = {kind: judgement(GOOD | {"unexplained": 0.6}, kind).causes for kind in ("network", "solver")}
    assert [any("too few epochs" in one for one in causes[kind]) for kind in causes] == [True, False]


DIM = {
    "r_factor": 1.4,
    "mean_pattern_r_factor": 1.7,
    "poisson_deviance_per_pixel": 0.38,
    "mean_pattern_poisson_deviance_per_pixel": 0.2,
    "noise_poisson_deviance_per_pixel": 0.12,
    "unexplained": 3.2,
    "photons_per_pattern": 32.4,
    "deviance_per_unknown": 0.8,
}


def test_a_dose_that_hides_the_object_is_named_before_all_faults_that_it_may_hide() -> None:
    found = judgement(DIM, "solver")
    assert (found.level, found.headline) == ("doubtful", "The dose limits the picture")
    assert found.reason.startswith("A pattern holds 32.4 photons, whose noise hides most")
    assert found.causes[0] == "too few photons"
    assert len(found.causes) > 1
    assert judgement(DIM | {"unexplained": 0.4}, "solver").causes == ("too few photons",)
    noise_alone = {"mean_pattern_poisson_deviance_per_pixel": 0.13, "unexplained": 0.0}
    assert judgement(DIM | noise_alone, "solver").causes == ("too few photons",)


@pytest.mark.parametrize("changes", [{"r_factor": 0.2}, {"deviance_per_unknown": 2.1}, {"unexplained": 0.2}])
def test_patterns_that_are_well_predicted_or_tell_enough_are_not_limited_by_the_dose(
    changes: dict[str, float],
) -> None:
    assert "dose" not in judgement(DIM | changes, "solver").headline


def test_a_problem_beats_all_figures_and_comes_with_what_was_noticed() -> None:
    found = judgement(GOOD | {"noticed": [NOTICED]}, "network", problem="r_factor: expected less.")
    assert (found.level, found.reason) == ("bad", "r_factor: expected less.")
    assert found.causes == ("the positions span 3 px. Set positions_unit",)


def test_a_picture_under_way_is_not_finished_whatever_it_is_like_and_a_training_may_have_failed_already() -> (
    None
):
    levels = {
        kind: judgement(GOOD, kind, problem="r_factor: expected less.", is_finished=False).level
        for kind in ("solver", "network", "training")
    }
    assert levels == {"solver": "doubtful", "network": "doubtful", "training": "bad"}


def test_figures_that_are_missing_or_no_numbers_are_not_judged() -> None:
    assert judgement({}, "training").level == "open"
    assert levels(mean_pattern_r_factor=None) == "open"
    assert levels(r_factor=0.2, noise_poisson_deviance_per_pixel=None) == "doubtful"
    assert levels(noticed="none") == "good"


def test_a_run_is_judged_by_its_files(tmp_path: Path) -> None:
    assert recorded_judgement(tmp_path, "solver").headline == "Not finished"
    (tmp_path / "metrics.json").write_text(json.dumps(GOOD))
    assert recorded_judgement(tmp_path, "solver") == judgement(GOOD, "solver")
    (tmp_path / "metrics.json").write_text(json.dumps(GOOD | {"interrupted": True}))
    assert recorded_judgement(tmp_path, "solver").headline == "Not finished"
    (tmp_path / "training.json").write_text(json.dumps(GOOD))
    assert recorded_judgement(tmp_path, "training").headline == "Not finished"
    (tmp_path / "wts.h5.zip").touch()
    found: Judgement = recorded_judgement(tmp_path, "training")
    assert (found.level, found.headline) == ("good", "The model has learned")


def test_numbers_and_times_are_worded() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
    assert [duration(s) for s in (3.21, 59.4, 250, 7500)] == ["3.2 s", "59 s", "4 min 10 s", "2 h 5 min"]
