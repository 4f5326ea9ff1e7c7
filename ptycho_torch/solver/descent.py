"""Accelerated descent on the object, the probe modes, the scan positions and the intensities together.

    iterate, Z the extrapolated point of X = (O, P):
      O+ = Z_O + s (gO / W' + long waves),  P+ = Z_P + s gP / V';  W' and V' the illumination and the brightness, a
           little added
      prior: O+ = argmin weight TV(x) + sum W'/s abs(x - O+)^2
      t+ = (1 + sqrt(1 + 4 t^2)) / 2;  Z+ = X+ + (t - 1)/t+ (X+ - X)

(Beck and Teboulle 2009.) Momentum that points uphill is dropped (t = 1; O'Donoghue and Candes 2015). A point where the
objective has risen by more than ripples is not used: the next try is without momentum and with a shorter step, and then
from the point before with half the step. So the objective of the points used never rises above its lowest by more than
`SLACK`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptycho_torch.solver.forward import Forward, Gradients, Ids, Reduce
from ptycho_torch.solver.long_waves import long_step
from ptycho_torch.solver.losses import Loss
from ptycho_torch.solver.prior import no_dual, pull, shrink_variation, variation
from ptycho_torch.solver.strips import strips

FLOOR = 0.05
"""Share of the peak that is added to the illumination and to the brightness before they divide a step."""
REFRESH_EVERY = 10
"""Iterations after which illumination, brightness and curvature follow the probe and the object."""
FARTHEST_PX = 0.1
"""Largest move of a position in one iteration, along each axis."""
RECOVERY = 1.02
"""Growth of a step that was shortened, from one iteration to the next."""
SHORTER = 2**0.5
"""Divides the step when the objective has risen."""
SLACK = 3e-3
"""Rise of the objective above its lowest value, relative, that the ripples of accelerated steps may make."""
FULL_STEP: Mapping[Loss, float] = {"amplitude": 1.0, "poisson": 0.5}
"""Step on the object alone; the amplitude loss lies below its quadratic model there, so it falls."""


DEVIANCE: Mapping[Loss, float] = {"amplitude": 4.0, "poisson": 2.0}
"""What makes a loss a deviance: photon noise gives each about 1 per pixel where counts are many."""


JOINT = 0.7
"""Share of the step where object and probe move together."""


WAVES_FROM = 3
"""Iteration from which long waves of the phase get a step of their own: the first ones tell how stiff they are."""
LASTING = ("weight", "brightness", "curvature", "stiffness")
"""What a descent keeps from one iteration to the next beside its state."""


class Iteration(NamedTuple):
    """What happened in one pass over the patterns."""

    number: int
    """From 1."""
    loss: Loss
    deviance_per_pixel: float
    """Of the patterns that are fitted, at the point the pass looked at; about 1 for a perfect model of many counts."""
    objective: float
    """Loss and prior together."""
    used: bool
    """False where the objective had risen and the point was left."""
    step: float
    object_change: float
    """Root mean square, where there is light."""
    positions_change_px: float
    """Root mean square."""


def _kind(value: Any) -> Any:
    """What a value of the state must have in common with another one."""
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


@dataclass
class State:
    """All that a descent goes on from; tensors and numbers alone."""

    iteration: int
    object: Tensor
    """complex (H, W)."""
    modes: Tensor
    """complex (M, N, N), photon**0.5."""
    positions_px: Tensor
    """float64 (n, 2)."""
    intensities: Tensor
    """float64 (n,), relative."""
    ahead_object: Tensor
    ahead_modes: Tensor
    used_object: Tensor
    used_modes: Tensor
    used_positions_px: Tensor
    used_intensities: Tensor
    dual: Tensor
    momentum: float
    step_share: float
    objective: float
    """Lowest of the points used; infinite where nothing is to be compared with."""
    is_ahead: bool
    """Whether the next point is extrapolated."""


class Descent:
    """One descent; `step` is one pass over the patterns.

    Args:
        forward: the scan; its positions and intensities are where the descent starts.
        start: complex (H, W), object.
        modes: complex (M, N, N), probe modes.
        fitted: patterns to fit, increasing; `fit` changes them.
        switch_at: iterations with the amplitude loss before the Poisson loss; None for the amplitude loss throughout.
        dark: photons added in the Poisson loss, see `losses.dark_count`.
        probe_from: iteration from which the modes are refined; None never.
        positions_from: the same for the positions.
        intensities_from: the same for the intensities of the patterns.
        prior_weight: of the total variation; 0 for none.
        prior_from: iteration from which the prior acts.
        reduce: adds a tensor over processes, in place, where several share the patterns.
    """

    def __init__(
        self,
        forward: Forward,
        start: Tensor,
        modes: Tensor,
        fitted: Ids,
        *,
        switch_at: int | None = 20,
        dark: float = 1e-3,
        probe_from: int | None = 3,
        positions_from: int | None = None,
        intensities_from: int | None = None,
        prior_weight: float = 0.0,
        prior_from: int = 0,
        reduce: Reduce | None = None,
    ) -> None:
        self.forward, self.fitted = forward, fitted
        self._n_measured: float | None = None
        self.switch_at, self.dark = switch_at, dark
        self.probe_from, self.positions_from = probe_from, positions_from
        self.intensities_from = intensities_from
        self.prior_weight, self.prior_from = prior_weight, prior_from
        self._reduce = reduce
        self._weight = self._brightness = self._curvature = self._stiffness = torch.zeros(0)
        start = start.to(forward.device, forward.complex)
        modes = modes.to(forward.device, forward.complex)
        places = forward.positions_px, forward.intensities
        self.state = State(
            0, start, modes, *places, start, modes, start, modes, *places,
            dual=no_dual(start), momentum=1.0, step_share=1.0, objective=torch.inf, is_ahead=False,
        )  # fmt: skip

    def fit(self, fitted: Ids) -> None:
        """Fit other patterns from now on."""
        self.fitted, self._n_measured = fitted, None
        self._weight = self._stiffness = torch.zeros(0)
        self._begin_anew()

    def reweigh(self, prior_weight: float) -> None:
        """Take another weight of the prior from now on."""
        self.prior_weight = prior_weight
        self._begin_anew()

    def state_dict(self) -> dict[str, Any]:
        """The state, for `load_state_dict`; safe to save with ``torch.save`` and to load with ``weights_only``.

        What is computed every few iterations alone is part of it: a descent that goes on is one that never stopped.
        """
        lasting = {name: getattr(self, f"_{name}") for name in LASTING}
        return {one.name: getattr(self.state, one.name) for one in fields(State)} | lasting

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where a descent stopped, with the patterns that it fitted.

        Raises:
            KeyError, TypeError, ValueError: it is not the state of a descent of this scan.
        """
        device = self.forward.device
        found = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in saved.items()
        }
        for name in LASTING:
            setattr(self, f"_{name}", found.pop(name))
        state = State(**found)
        other = [name for name, value in vars(self.state).items() if _kind(value) != _kind(vars(state)[name])]
        if other:
            raise ValueError(f"{', '.join(other)} of another shape or type")
        self.state = state

    def _begin_anew(self) -> None:
        state = self.state
        state.momentum, state.objective, state.is_ahead = 1.0, torch.inf, False
        state.ahead_object, state.ahead_modes = state.object, state.modes

    @property
    def loss(self) -> Loss:
        """The loss of the next iteration."""
        late = self.switch_at is not None and self.state.iteration >= self.switch_at
        return "poisson" if late else "amplitude"

    def _refines(self, start: int | None) -> bool:
        return start is not None and self.state.iteration >= start

    def _strength(self) -> Tensor | None:
        """The prior at each pixel: none where no light falls, or nothing would hold the object there."""
        if not self.prior_weight or self.state.iteration < self.prior_from:
            return None
        return self.prior_weight * (1 - self._weight.min() / self._weight)

    def step(self) -> Iteration:
        """Look at the next point and, unless the objective has risen there, move on."""
        state, forward = self.state, self.forward
        if state.iteration in (self.switch_at, self.prior_from):
            self._begin_anew()
        forward.positions_px, forward.intensities = state.positions_px, state.intensities
        forward.set_probe(state.ahead_modes)
        self._refresh()
        sums = forward.nothing(
            modes=self._refines(self.probe_from),
            positions=self._refines(self.positions_from),
            intensities=self._refines(self.intensities_from),
        )
        same = sums.modes is None and sums.positions is None and sums.intensities is None
        forward.accumulate(state.ahead_object, self.fitted, self.loss, self.dark, sums, keep=same)
        objective = float(sums.value)
        step = FULL_STEP[self.loss] * state.step_share * (JOINT if sums.modes is not None else 1.0)
        before, loss = state.positions_px, self.loss
        deviance = DEVIANCE[loss] * objective / max(1.0, self._n_measured or 0.0)
        strength = self._strength()
        if strength is not None:
            objective += float(variation(state.object, strength))
        used = objective <= state.objective * (1 + SLACK)
        self.state, change = self._moved(sums, step, objective) if used else self._left()
        return Iteration(
            self.state.iteration, loss, deviance, objective, used, step, change,
            float((self.state.positions_px - before).square().sum(dim=1).mean().sqrt()),
        )  # fmt: skip

    def _left(self) -> tuple[State, float]:
        """Where to look next when the objective has risen: at X without momentum, then behind it with half the step.

        Gives the change of the object as well, as `_moved` does.
        """
        state = self.state
        changed: dict[str, Any] = {one.name: getattr(state, one.name) for one in fields(State)}
        changed |= {"iteration": state.iteration + 1, "momentum": 1.0, "is_ahead": False}
        changed |= {"step_share": state.step_share / (SHORTER if state.is_ahead else 2)}
        if state.is_ahead:
            changed |= {"ahead_object": state.object, "ahead_modes": state.modes}
        else:
            used = {"object": state.used_object, "modes": state.used_modes}
            changed |= used | {f"ahead_{name}": value for name, value in used.items()}
            changed |= {"positions_px": state.used_positions_px, "intensities": state.used_intensities}
            changed |= {"objective": torch.inf}
        return State(**changed), self._rms(changed["object"] - state.object)

    def _moved(self, sums: Gradients, step: float, objective: float) -> tuple[State, float]:
        state = self.state
        assert sums.object is not None
        # this point is used now: canvases are large, and one less is held
        state.used_object = state.ahead_object
        object, change, dual, against = self._moved_object(sums.object, step)
        sums.object = None  # used up
        modes = state.modes
        if sums.modes is not None:
            modes = state.ahead_modes + step * self.forward.mode_gradient(sums.modes) / self._brightness
            back, move = state.ahead_modes - modes, modes - state.modes
            against += float(torch.vdot(back.reshape(-1), (move * self._brightness).reshape(-1)).real)
        momentum = 1.0 if against > 0 else state.momentum
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        push = (momentum - 1) / following
        size = self._rms(change)
        moved = State(
            iteration=state.iteration + 1,
            object=object,
            modes=modes,
            positions_px=self._moved_positions(sums.positions, step),
            intensities=self._new_intensities(sums.intensities),
            ahead_object=change.mul_(push).add_(object),
            ahead_modes=modes if sums.modes is None else modes + push * (modes - state.modes),
            used_object=state.ahead_object,
            used_modes=state.ahead_modes,
            used_positions_px=state.positions_px,
            used_intensities=state.intensities,
            dual=dual,
            momentum=following,
            step_share=min(1.0, state.step_share * RECOVERY),
            objective=min(objective, state.objective),
            is_ahead=push > 0,
        )
        return moved, size

    def _moved_object(self, gradient: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """The next object, its move, the dual of the prior, and how far the move was against the gradient.

        Canvases are large: the gradient is used up.
        """
        state, strength, dual = self.state, self._strength(), self.state.dual
        if len(self._stiffness):
            whole = gradient if strength is None else pull(state.ahead_object, dual).add_(gradient)
            object = long_step(state.ahead_object, whole, self._stiffness, self._weight)
            object.addcdiv_(gradient, self._weight)
        else:
            object = gradient / self._weight
        object.mul_(step).add_(state.ahead_object)
        force = gradient.mul_(step)
        if strength is not None:
            before = object
            object, dual = shrink_variation(before, 2 * self._weight / step, strength, dual)
            for rows, *_ in strips(len(object)):
                force[rows] += self._weight[rows] * (object[rows] - before[rows])
        move = object - state.object
        return object, move, dual, -float(torch.vdot(force.reshape(-1), move.reshape(-1)).real)

    def _refresh(self) -> None:
        """Let illumination, brightness and curvature follow, where they are due."""
        state = self.state
        if self._n_measured is None:
            self._n_measured = self._count_measured()
        due = state.iteration % REFRESH_EVERY == 0 or not len(self._weight)
        probing = self._refines(self.probe_from)
        if not len(self._weight) or (due and probing):
            self._weight = _raised(self.forward.illumination(self.fitted))
        if probing and (due or state.iteration == self.probe_from):
            self._brightness = _raised(self.forward.brightness(state.ahead_object, self.fitted))
        if self._refines(WAVES_FROM) and (due or not len(self._stiffness)):
            self._stiffness = self.forward.stiffness(state.ahead_object, self.fitted)
        if self._refines(self.positions_from) and (due or state.iteration == self.positions_from):
            self._curvature = self.forward.position_curvature(state.ahead_object, self.fitted)

    def _moved_positions(self, gradient: Tensor | None, step: float) -> Tensor:
        positions = self.state.positions_px
        if gradient is None:
            return positions
        curvature = self._curvature[self.fitted]
        scale = curvature.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
        damped = curvature + 1e-3 * (scale + self._mean(scale)) * torch.eye(
            2, dtype=scale.dtype, device=scale.device
        )
        moves = step * torch.linalg.solve(damped, gradient[self.fitted])
        moves = moves.clamp_(-FARTHEST_PX, FARTHEST_PX)
        moves -= self._mean(moves)
        positions = positions.clone()
        positions[self.fitted] = self.forward.on_canvas(positions[self.fitted] + moves)
        return positions

    def _new_intensities(self, ratio: Tensor | None) -> Tensor:
        if ratio is None:
            return self.state.intensities
        intensities = self.state.intensities.clone()
        logs = (intensities[self.fitted] * ratio[self.fitted].clamp(0.5, 2)).log()
        intensities[self.fitted] = (logs - self._mean(logs)).exp()
        return intensities

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over the fitted patterns of all processes."""
        total = torch.cat([values.sum(dim=0).reshape(-1), values.new_full((1,), len(values))])
        if self._reduce is not None:
            self._reduce(total)
        return (total[:-1] / total[-1]).reshape(values.shape[1:])

    def _count_measured(self) -> float:
        number = self.forward.patterns.n_measured(self.fitted)
        total = torch.tensor([number], dtype=torch.float64, device=self.forward.device)
        if self._reduce is not None:
            self._reduce(total)
        return float(total)

    def _rms(self, change: Tensor) -> float:
        dark = self._weight.min()
        moved = light = torch.zeros((), device=dark.device)
        for rows, *_ in strips(len(change)):
            lit = self._weight[rows] - dark
            moved, light = moved + change[rows].abs().square_().mul_(lit).sum(), light + lit.sum()
        return float(moved.div(light).sqrt())


def _raised(weight: Tensor) -> Tensor:
    return weight + FLOOR * weight.max()
