"""The course of one reconstruction without a network: a descent that follows its plan, and can stop and go on."""

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.solver import SolverConfig
from ptycho.raw_data import RawData
from ptycho_torch.config_solver import SolverPayload
from ptycho_torch.data.groups import Indices
from ptycho_torch.runs import metrics
from ptycho_torch.runs.judged import fitted_and_judged
from ptycho_torch.runs.judging import judge, measured_by
from ptycho_torch.runs.plan import MILD, Facts, Plan, facts_of, overlap_problem, plan_of
from ptycho_torch.runs.start import Start
from ptycho_torch.runtime import working_dtype
from ptycho_torch.solver import (
    Choice,
    Patterns,
    are_raw_counts,
    carried_along,
    first_weight,
    photons_per_pixel,
    prepare,
    refined_intensities,
    refined_positions,
    share_of,
    weight_by_set_aside,
    weight_by_thinning,
)
from ptycho_torch.solver.losses import dark_count

log = logging.getLogger(__name__)

N_LAST: Final = 10
"""Iterations at the end that fit what was set aside as well."""
N_TESTED: Final = 64
"""Patterns that tell whether the probe of the file explains them."""
FITS: Final = 1.2
"""Deviance over the expected one up to which it does: the rest is an object that is not yet sharp."""
ARRIVES: Final = 0.1
"""Share by which the deviance of the fitted patterns has fallen in ten iterations where the object is still so far from
its end that a probe that does not explain the patterns is not to blame yet."""
NEARLY: Final = 1.5
"""Deviance over the expected one up to which slower falls, of `FALLS`, are waited for as well."""
FALLS: Final = 0.01
"""Share by which the deviance of the fitted patterns has fallen in ten iterations where it is worth while to go on."""
N_MORE: Final = 20
"""Iterations that are added then."""
N_MOST_MORE: Final = 100
"""As many are added in all."""
MADE_MODES: Final = 5
"""Modes that can be made from the first one of a file."""


@dataclass
class Progress:
    """What a course goes on from beside its descent: plain values alone."""

    rows: list[dict[str, Any]]
    """The iterations."""
    probe_fits: bool | None = None
    n_waited: int = 0
    """Iterations by which the test of the probe was put off, since the deviance still fell fast."""
    choice: dict[str, Any] | None = None
    """How the weight of the prior was chosen, see `solver.Choice`."""
    figures: dict[str, Any] | None = None
    """Of the patterns that were set aside, before they were fitted."""
    weight: float = 0.0
    """Of the prior."""
    n_more: int = 0
    """Iterations beyond those of the plan, since the deviance still fell."""
    seconds: float = 0.0
    """Of wall time, in all parts of the run."""


class Course:
    """One scan under reconstruction.

    Args:
        payload: the settings.
        scan: the patterns.
        start: object, probe, positions and intensities to begin with.
        fabric: the devices, whose processes share the patterns.

    Raises:
        ConfigError, DataError: the scan cannot be reconstructed with these settings.
    """

    def __init__(self, payload: SolverPayload, scan: RawData, start: Start, fabric: Fabric) -> None:
        self.config, self.scan, self.fabric = payload.solver_config, scan, fabric
        self._seed = payload.execution_config.seed
        self.fitted, self.judged, self.judged_are = fitted_and_judged(scan, self.config.holdout, self._seed)
        self.progress = Progress([])
        patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
        n_modes = self.config.probe_modes or len(start.probe)
        _refuse_modes(n_modes, len(start.probe))
        self._options: dict[str, Any] = {
            "n_modes": n_modes,
            "start": torch.from_numpy(start.object),
            "intensities": torch.from_numpy(start.intensities),
            "margin_px": margin_px(self.config),
            "device": fabric.device,
            "chunk": payload.execution_config.inference_batch_size,
            "real": working_dtype(payload.execution_config),
            "dark": dark_count(patterns.mean_photons(self.fitted)),
        }
        self._arguments = patterns, torch.from_numpy(start.positions_px), torch.from_numpy(start.probe)
        several = fabric.world_size > 1
        self.descent = prepare(
            *self._arguments,
            fitted=self._share(self.fitted),
            reduce=self._add_up if several else None,
            **self._options,
        )
        self.start = start
        self.facts = self.facts_now(photons_per_pixel(self.descent))
        self.with_prior = self._wants_prior()
        self.progress.weight = 0.0 if self.config.prior_weight == "auto" else self.config.prior_weight
        if self.facts.overlap <= 0:
            self.progress.probe_fits = True  # not tested: without overlap it cannot be refined
        self._follow()

    # What it is at ----------------------------------------------------------------------------------------------

    @property
    def n_done(self) -> int:
        """Iterations so far."""
        return self.descent.state.iteration

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.n_done >= self.plan.n_iterations

    @property
    def last_from(self) -> int | None:
        """Iteration from which what was set aside is fitted too; None where nothing was."""
        n_iterations = self.plan.n_iterations
        return (
            max(0, n_iterations - min(N_LAST, n_iterations // 4)) if self.judged_are == "set aside" else None
        )

    def facts_now(self, photons: float | None = None) -> Facts:
        """The facts with positions and probe as they are."""
        state = self.descent.state
        modes = state.modes.cpu().numpy().astype(np.complex64)
        photons = self.facts.photons_per_pixel if photons is None else photons
        return facts_of(state.positions_px.cpu().numpy()[self.fitted], modes, photons)

    def figures(self) -> dict[str, Any]:
        """Figures of the patterns that judge, or of those that were set aside before they were fitted."""
        return self.progress.figures or self._judged()

    def fall(self) -> float:
        """Share by which the deviance of the fitted patterns fell in ten iterations, before any were added to them."""
        fell = [
            row
            for row in self.progress.rows[: self.last_from]
            if row["loss"] == self.progress.rows[-1]["loss"]
        ]
        some = [row["deviance_per_pixel"] for row in fell[-N_LAST:]]
        return 1 - some[-1] / some[0] if some and some[0] else 0.0

    # Going on ---------------------------------------------------------------------------------------------------

    def advance(self) -> dict[str, Any]:
        """One iteration, and what is due before it; gives its row of the history."""
        at, progress, begun_s = self.n_done, self.progress, time.perf_counter()
        if at == self.plan.test_at and progress.probe_fits is None:
            self._test_probe()
        if at == self.plan.prior_from and not progress.weight and at != self.plan.search_at:
            self.descent.reweigh(MILD if self.plan.is_mild else first_weight(self.descent))
            progress.weight = self.descent.prior_weight
        if at == self.plan.search_at and progress.choice is None:
            self._choose_weight()
        if self._still_falls(at):
            progress.n_more += N_MORE
            self._follow()
        if at == self.last_from and progress.figures is None:
            figures = self._judged()
            self._fit_all()
            progress.figures = figures
        step = self.descent.step()
        progress.seconds += time.perf_counter() - begun_s
        row = {"iteration": step.number, **step._asdict(), "seconds": progress.seconds}
        del row["number"]
        progress.rows.append(row)
        return row

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` goes on from: tensors and plain values."""
        self._share_findings()
        descent = {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in self.descent.state_dict().items()
        }
        return {"progress": asdict(self.progress), "descent": descent}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from a snapshot of a course with the same scan and settings.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is another one.
        """
        self.progress = Progress(**saved["progress"])
        if not self.progress.rows or not all(isinstance(row, dict) for row in self.progress.rows):
            raise ValueError("a state without iterations")
        if self.progress.figures is not None and self.judged_are == "set aside":
            self._fit_all()
        self.descent.load_state_dict(saved["descent"])
        self._follow()

    def copied(self) -> "Course":
        """A copy that can be judged without a change of this one, which goes on."""
        copied = copy.copy(self)
        copied.descent = copy.copy(self.descent)
        copied.descent.state = copy.copy(self.descent.state)  # its tensors are replaced, never changed
        return copied

    def close(self) -> None:
        """Bring together what the processes found of positions and intensities."""
        self._share_findings()

    def _follow(self) -> None:
        """Make the plan, and let the descent follow it."""
        done = self.progress
        plan = plan_of(
            self.config,
            with_prior=self.with_prior,
            probe_fits=done.probe_fits,
            n_waited=done.n_waited,
            has_probe=self.scan.has_probe,
        )
        self.plan: Plan = replace(plan, n_iterations=plan.n_iterations + done.n_more)
        self.plan.rule(self.descent)
        self.descent.prior_weight = self.progress.weight if self.plan.prior_from is not None else 0.0

    # The stages -------------------------------------------------------------------------------------------------

    def _wants_prior(self) -> bool:
        if self.config.prior == "none":
            return False
        wanted = self.config.prior == "tv" or self.facts.need_prior
        if not wanted or self.config.prior_weight != "auto" or self._has_raw_counts() or len(self.judged):
            return wanted
        if self.config.prior == "tv":
            message = (
                "solver.prior_weight: auto needs photon counts, or patterns that are not fitted; got neither. Set "
                "holdout, or the weight."
            )
            raise ConfigError([Failure("solver.prior_weight", message)])
        log.info("no prior: its weight cannot be found, since no patterns are set aside")
        return False

    def _still_falls(self, at: int) -> bool:
        """Whether more iterations are worth while, where the last ones are due and nobody set their number."""
        is_due = at == self.plan.n_iterations - N_LAST and self.plan.test_at is None
        if self.config.n_iterations != "auto" or not is_due or self.progress.n_more >= N_MOST_MORE:
            return False
        return self.fall() > FALLS and overlap_problem(self.facts) is None

    def _has_raw_counts(self) -> bool:
        return are_raw_counts(self._arguments[0], self.fitted)

    def _test_probe(self) -> None:
        """Whether the probe of the file explains the patterns to the noise; it is refined otherwise.

        Where it does not, and the object still comes nearer fast, it is tested again later.
        """
        some = self.judged if len(self.judged) else self.fitted
        some = some[:: max(1, len(some) // N_TESTED)][:N_TESTED]
        found = self.predicted(some)
        if self.descent.loss == "amplitude":
            found = (block._replace(predicted=metrics.unbiased_amplitude(block.predicted)) for block in found)
        excess = metrics.excess_deviance(found)
        fits = self.fabric.broadcast(bool(excess <= FITS))
        waits = not fits and self._may_wait() and self.fall() > (FALLS if excess <= NEARLY else ARRIVES)
        log.info(
            "with the probe of the file the deviance is %.3g times that of noise: the probe is %s",
            excess,
            "kept" if fits else "tested again, since the deviance still falls" if waits else "refined",
        )
        self.progress.n_waited += N_LAST if waits else 0
        self.progress.probe_fits = None if waits else fits
        self._follow()

    def _may_wait(self) -> bool:
        """Whether the test of the probe can be put off by ten iterations."""
        if self.config.n_iterations == "auto":
            return self.progress.n_waited < N_MOST_MORE and overlap_problem(self.facts) is None
        return self.n_done + N_LAST <= self.config.n_iterations // 2

    def _choose_weight(self) -> None:
        self._share_findings()
        choice = self.fabric.broadcast(self._choice() if self.fabric.is_global_zero else None)
        assert choice is not None
        log.info("weight of the prior: %s", choice.in_words())
        self.descent.reweigh(choice.weight)
        self.progress.choice, self.progress.weight = choice._asdict(), choice.weight

    def _choice(self) -> Choice:
        alone = copy.copy(self.descent)
        alone.fitted = self.fitted
        if self._has_raw_counts():
            return weight_by_thinning(alone, seed=self._seed)
        return weight_by_set_aside(alone, self.judged)

    def _fit_all(self) -> None:
        """Fit what was set aside as well."""
        self._share_findings()
        self.fitted = np.arange(len(self.scan.patterns))
        self.descent.fit(self._share(self.fitted))

    def _judged(self) -> dict[str, Any]:
        self._share_findings()
        self._carry_along()
        indices = self.judged if len(self.judged) else self.fitted
        return judge(self.scan, indices, self.judged_are, self.predicted)

    def _carry_along(self) -> None:
        """Find positions and intensities of patterns that are not fitted; object and probe stay as they are."""
        if not len(self.judged) or self.progress.figures is not None:
            return
        state, forward = self.descent.state, self.descent.forward
        forward.intensities = state.intensities
        if self.config.refine_positions:
            start = torch.from_numpy(self.start.positions_px).to(state.positions_px)
            now = carried_along(start, state.positions_px, self.fitted, self.judged)
            forward.positions_px = forward.on_canvas(now)
            state.positions_px = refined_positions(forward, state.object, state.modes, self.judged)
        forward.positions_px = state.positions_px
        if self.config.refine_intensities:
            dark = self.descent.dark
            state.intensities = refined_intensities(forward, state.object, state.modes, self.judged, dark)

    def predicted(self, indices: Indices) -> Iterator[metrics.Block]:
        """Chosen patterns as object, probe, positions and intensities are now, and as they were measured."""
        state, forward = self.descent.state, self.descent.forward
        forward.positions_px, forward.intensities = state.positions_px, state.intensities
        forward.set_probe(state.modes)
        for ids, predicted in forward.predicted_amplitude(state.object, indices):
            yield metrics.Block(predicted.float().cpu().numpy(), *measured_by(self.scan, ids))

    # Several processes ------------------------------------------------------------------------------------------

    def _share(self, ids: Indices) -> Indices:
        return share_of(ids, self.fabric.global_rank, self.fabric.world_size)

    def _add_up(self, tensor: Tensor) -> None:
        tensor.copy_(self.fabric.all_reduce(tensor, reduce_op="sum"))

    def _share_findings(self) -> None:
        """Give every process the positions and intensities that each found for its patterns."""
        if self.fabric.world_size == 1:
            return
        state = self.descent.state
        own = torch.zeros(len(state.positions_px), dtype=torch.float64, device=state.positions_px.device)
        own[self.descent.fitted] = 1
        n_owners = own.clone()
        self._add_up(n_owners)
        for name in ("positions_px", "intensities", "used_positions_px", "used_intensities"):
            found: Tensor = getattr(state, name)
            shape = (-1, *[1] * (found.ndim - 1))
            total = found * own.reshape(shape)
            self._add_up(total)
            setattr(state, name, torch.where(n_owners.reshape(shape) > 0, total, found))


def margin_px(config: SolverConfig) -> int:
    """Free canvas around the patches, for positions that move."""
    return 12 if config.refine_positions else 4


def _refuse_modes(n_modes: int, n_given: int) -> None:
    most = n_given + MADE_MODES
    if n_modes > most:
        rule = f"solver.probe_modes: expected at most {most}, with {n_given} in the file"
        message = f"{rule}; got {n_modes}. Lower it."
        raise ConfigError([Failure("solver.probe_modes", message)])
