"""The combinations that a sweep tries: a grid, a random draw, or what Optuna proposes."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..errors import InputError
from .seeding import unit_seed
from .sweepfile import Parameter, SweepFile

__all__ = ["check_optuna", "corners", "drawn", "grid", "propose"]

Values = dict[str, Any]


def grid(parameters: Sequence[Parameter]) -> list[Values]:
    """Return every combination, the last parameter varying fastest."""
    columns = [parameter.values or () for parameter in parameters]
    return [_named(parameters, values) for values in itertools.product(*columns)]


def drawn(sweep: SweepFile) -> list[Values]:
    """Return the combinations of a random search, all different; the first n of a longer draw are those of a draw of n.

    Fewer than ``trials`` where there are not so many.
    """
    rng = random.Random(unit_seed(sweep.value["seed"], "sweep"))
    found: dict[str, Values] = {}
    for _ in range(100 * sweep.trials):
        values = {parameter.path: _draw(parameter, rng) for parameter in sweep.parameters}
        found.setdefault(repr(values), values)
        if len(found) == sweep.trials:
            break
    return list(found.values())


def corners(parameters: Sequence[Parameter]) -> list[Values]:
    """Return combinations in which every value, and both ends of every range, come at least once."""
    columns = [parameter.values or (parameter.low, parameter.high) for parameter in parameters]
    longest = max(map(len, columns), default=0)
    return [_named(parameters, [column[i % len(column)] for column in columns]) for i in range(longest)]


def _named(parameters: Sequence[Parameter], values: Sequence[Any]) -> Values:
    return {parameter.path: value for parameter, value in zip(parameters, values, strict=True)}


def _draw(parameter: Parameter, rng: random.Random) -> Any:
    if parameter.values is not None:
        return rng.choice(parameter.values)
    if not parameter.log:
        low, high = parameter.low, parameter.high
        return rng.randint(int(low), int(high)) if parameter.whole else rng.uniform(low, high)
    # An integer stands for the half-open interval around it, so that both ends are as likely as they should be.
    edge = 0.5 if parameter.whole else 0.0
    value = math.exp(rng.uniform(math.log(parameter.low - edge), math.log(parameter.high + edge)))
    value = min(max(value, parameter.low), parameter.high)
    return round(value) if parameter.whole else value


def check_optuna() -> None:
    """Refuse where Optuna is not installed.

    Raises:
        InputError: It is not.
    """
    if find_spec("optuna") is None:
        raise InputError(
            "search: optuna needs Optuna, which is not installed. Install it: pip install 'xai-core[optuna]'; or give "
            "search: random."
        )


def propose(sweep: SweepFile, history: Sequence[tuple[Values, float | None]], seed: int) -> Values:
    """Return what Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) proposes next.

    It depends on the arguments only, so that an interrupted search goes on as if nothing had happened.

    Args:
        sweep: The sweep.
        history: Combinations of one outer fold that were tried, with their validation scores; None: failed.
        seed: Of this proposal.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = optuna.study.StudyDirection.MAXIMIZE if sweep.sign > 0 else optuna.study.StudyDirection.MINIMIZE
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    space = {parameter.path: _distribution(parameter) for parameter in sweep.parameters}
    for values, score in history:
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        params = {parameter.path: _inside(parameter, values[parameter.path]) for parameter in sweep.parameters}
        study.add_trial(optuna.trial.create_trial(state=state, params=params, distributions=dict(space), value=score))
    asked: Mapping[str, Any] = study.ask(space).params
    return {parameter.path: _outside(parameter, asked[parameter.path]) for parameter in sweep.parameters}


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        return CategoricalDistribution(range(len(parameter.values)))  # indices: a value may be a list
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _inside(parameter: Parameter, value: Any) -> Any:
    # By text: for Python 1, 1.0 and True are one value.
    return value if parameter.values is None else [repr(known) for known in parameter.values].index(repr(value))


def _outside(parameter: Parameter, value: Any) -> Any:
    return value if parameter.values is None else parameter.values[value]
