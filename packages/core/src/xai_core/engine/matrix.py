"""Runs explainers on networks and says what came of it: the table of ``xai plugins explainers --matrix``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import registry
from ..errors import InputError, NotApplicable, PluginError
from ..interfaces import Explainer
from ..types import Attribution
from .attribution import check_untouched, fingerprint
from .progress import log, track
from .samplenetwork import Sample, make_sample, network_state
from .seeding import seeded

__all__ = ["Cell", "Column", "State", "matrix"]

State = Literal["right", "runs", "not applicable", "refused", "WRONG", "failed"]

# Maps are compared by the norm of their difference: rounding can switch a ReLU or a maximum, which moves a few voxels.
_SAME = 0.01
_OUTPUT_TOLERANCE = 1e-3  # of the largest output; a network in another form may differ by 1e-4 of it
_SEED = 0
_LONGEST = 400  # characters of a reason


@dataclass(frozen=True)
class Cell:
    """What came of one explainer on one network.

    Attributes:
        state: ``right``: it keeps what every explainer must, and its own test of its promise passed. ``runs``: the
            former, but it promises nothing that was tested. ``not applicable``: the method is not defined for this
            network, or needs parameters that have no default. ``refused``: it says that it cannot explain this
            network. ``WRONG``: a check failed. ``failed``: it raised what it must not.
        note: The evidence or the reason, one line.
    """

    state: State
    note: str


@dataclass(frozen=True)
class Column:
    """One network.

    Attributes:
        model: As the user named it.
        grid: (D, H, W) of the volumes; None where the network could not be built.
        parameters: How many the network has.
        cells: By name of the explainer.
    """

    model: str
    grid: tuple[int, ...] | None
    parameters: int
    cells: Mapping[str, Cell]


class _CheckError(Exception):
    """A check of this module failed."""


def matrix(models: Sequence[tuple[str, str, Mapping[str, Any]]], explainers: Sequence[str]) -> list[Column]:
    """Run every explainer, with its default parameters, on every network, with random weights.

    Args:
        models: (label, registry name, parameters) of each.
        explainers: Registry names.

    Returns:
        A column for each model. Nothing that an explainer or a model does stops the table.
    """
    cells: dict[tuple[int, str], Cell] = {}
    described: dict[int, tuple[tuple[int, ...] | None, int]] = {}
    bench = _Bench()
    pairs = [(index, name) for index in range(len(models)) for name in explainers]
    for index, name in track(pairs, "explainers on networks"):
        with _quiet():
            sample = _attempt(bench, *models[index][1:])
            cells[index, name] = sample if isinstance(sample, Cell) else _cell(name, sample)
        described[index] = (None, 0) if isinstance(sample, Cell) else (sample.grid, sample.parameters)
    return [
        Column(label, *described.get(index, (None, 0)), {name: cells[index, name] for name in explainers})
        for index, (label, _name, _params) in enumerate(models)
    ]


class _Bench:
    """Holds the network under test, and builds it anew after an explainer that changed it."""

    def __init__(self) -> None:
        self._made: tuple[Any, Sample | Exception, Any] | None = None

    def sample(self, name: str, params: Mapping[str, Any]) -> Sample:
        """Return the network of a model; raises what building it raises, every time."""
        key = (name, dict(params))
        if self._made is None or self._made[0] != key or self._changed():
            self._made = None  # two large networks at once would not fit
            try:
                missing = missing_parameters("model", name, params)
                if missing:
                    raise NotApplicable(f"the model {missing}")
                sample: Sample | Exception = make_sample(registry.create("model", name, **params))
            except Exception as error:
                sample = error
            self._made = (key, sample, _state(sample))
        found = self._made[1]
        if isinstance(found, Exception):
            raise found
        return found

    def _changed(self) -> bool:
        assert self._made is not None
        try:
            return bool(_state(self._made[1]) != self._made[2])
        except Exception:  # it does not even run any more
            return True


def _state(sample: Sample | Exception) -> object:
    return sample.state() if isinstance(sample, Sample) else None


def missing_parameters(kind: str, name: str, params: Mapping[str, Any]) -> str | None:
    """Return ``needs params: ...`` where a component has parameters without default that are not given."""
    missing = [key for key in registry.schema(kind, name).get("required", ()) if key not in params]
    return f"needs params: {', '.join(missing)}" if missing else None


def _attempt(bench: _Bench, name: str, params: Mapping[str, Any]) -> Sample | Cell:
    """Return the network, or what to say of it in each of its cells."""
    try:
        return bench.sample(name, params)
    except NotApplicable as error:
        return Cell("not applicable", _line(error))
    except InputError as error:
        return Cell("not applicable", f"the model takes no volume that was tried: {_line(error)}")
    except Exception as error:
        return Cell("failed", f"the model cannot be built: {_named(error)}")


def _cell(name: str, sample: Sample) -> Cell:
    try:
        missing = missing_parameters("explainer", name, {})
        if missing:
            return Cell("not applicable", missing)
        explainer = registry.create("explainer", name)
        if explainer.uses_controls():
            explainer.set_controls(sample.volumes.mean(0))
        _check_maps(explainer, sample)
    except NotApplicable as error:
        return Cell("not applicable", _line(error))
    except InputError as error:
        return Cell("refused", _line(error))
    except _CheckError as error:
        return Cell("WRONG", _line(error))
    except (Exception, SystemExit) as error:
        return Cell("failed", _named(error))
    return _own_test(explainer, sample)


def _own_test(explainer: Explainer, sample: Sample) -> Cell:
    """Let the explainer test its promise; it has made maps that pass for maps by now."""
    try:
        with _untouched(sample.network, sample.volumes), seeded(_SEED):
            evidence = explainer.self_check(sample.network, sample.volumes[:2].clone())
    except (AssertionError, _CheckError) as error:
        return Cell("WRONG", _line(error))
    except InputError as error:
        return Cell("runs", f"its own test was not possible: {_line(error)}")
    except (Exception, SystemExit) as error:
        return Cell("failed", f"its own test: {_named(error)}")
    if evidence is None:
        return Cell("runs", "it promises nothing that could be tested")
    return Cell("right", " ".join(str(evidence).split()))


def _check_maps(explainer: Explainer, sample: Sample) -> None:
    """Check what every explainer must keep, on two volumes.

    Raises:
        _CheckError: It does not; the message says what.
    """
    for trial in _trials(sample):
        network, other, volumes = trial
        found = _explained(explainer, network, volumes, None)
        opposite = _explained(explainer, network, volumes, 1 - found.target)
        informative = [each for each in (found, opposite) if _varies(each.relevance)]
        if informative:
            break
    else:
        raise _CheckError(
            "the map is the same everywhere in the volume, whatever the volume, the output and the weights"
        )
    alone = _explained(explainer, network, volumes[1:], found.target[1:])
    _require(_same(alone.relevance, found.relevance[1:]), "a volume's map depends on who else is in the batch")
    _require(not _same(found.relevance, opposite.relevance), "the map is the same whichever output is explained")
    reference = informative[0]
    elsewhere = _explained(explainer, other, volumes, reference.target)
    _require(not _same(reference.relevance, elsewhere.relevance), "the map is the same with other weights")


def _trials(sample: Sample) -> Iterator[tuple[nn.Module, nn.Module, Tensor]]:
    """Yield networks, others and pairs of volumes: a map may rightly be 0 where nothing speaks for the output."""
    for pair in sample.volumes.split(2):
        yield sample.network, sample.other, pair
        yield sample.other, sample.network, pair


def _explained(explainer: Explainer, network: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    given = volumes.clone()
    with _untouched(network, volumes), seeded(_SEED):
        found = explainer.explain(network, given, target)
    _require(isinstance(found, Attribution), f"it returned {type(found).__name__}, not an Attribution")
    _require(torch.equal(given, volumes), "it changed the volumes")
    _check_map(found.relevance, volumes)
    with torch.no_grad():
        outputs = network(volumes.clone())
    expected = outputs.argmax(1) if target is None else target
    _require(
        found.target.tolist() == expected.tolist(), f"it explained {found.target.tolist()}, not {expected.tolist()}"
    )
    off = (found.output - outputs.gather(1, expected[:, None])[:, 0]).abs().max()
    _require(bool(off <= _OUTPUT_TOLERANCE * outputs.abs().max()), "the output that it explained is not the network's")
    return found


def _check_map(relevance: Tensor, volumes: Tensor) -> None:
    shape = f"{relevance.dtype} {list(relevance.shape)}"
    wanted = f"{torch.float32} {list(volumes.shape)}"
    _require(shape == wanted, f"the map is {shape}, not {wanted}")
    _require(not relevance.requires_grad, "the map still hangs on the graph")
    _require(bool(torch.isfinite(relevance).all()), "the map is NaN or infinite somewhere")


@contextmanager
def _untouched(network: nn.Module, volumes: Tensor) -> Iterator[None]:
    """Check that a network is the same after the block; what the block raises passes."""
    seen, state = fingerprint(network), network_state(network, volumes)
    yield
    try:
        check_untouched(network, seen, "it")
    except PluginError as error:
        raise _CheckError(str(error)) from error
    flags, outputs = network_state(network, volumes)
    _require(flags == state[0], "it left gradients in the network, or changed requires_grad")
    _require(outputs == state[1], "the network gives other outputs than before")


def _varies(relevance: Tensor) -> bool:
    return bool((relevance.flatten(1).std(1) > 0).any())


def _same(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).norm() <= _SAME * torch.maximum(first.norm(), second.norm()))


def _require(kept: bool, broken: str) -> None:
    if not kept:
        raise _CheckError(broken)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition(" ")[0] + " ..."


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_line(error)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what explainers tell of invented networks; the table is what there is to say."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
