"""Errors that a user is expected to meet: one message each, and the exit code that the command line gives.

Everything else that is raised is a defect of a component or of this program and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ConfigError", "InputError", "NotApplicable", "PluginError", "RunError", "XaiError"]


class XaiError(Exception):
    """Base of every expected error. The message says what, where, what there is instead and what to do."""

    exit_code = 1


class RunError(XaiError):
    """The run failed although its configuration and its input were right."""


class InputError(XaiError):
    """The input (a table, an image, a folder, an argument) is wrong."""

    exit_code = 2


class NotApplicable(InputError):  # noqa: N818 - says what is so, not that something failed
    """An explainer's method is not defined for this kind of network, in anybody's implementation.

    Guided backpropagation of a network without a ReLU, say. The message says why, and what to use instead. A plain
    ``InputError`` says that this implementation refuses the network as it is: a layer that it has no rule for, a
    forward that cannot be traced, weights in half precision.
    """


class ConfigError(InputError):
    """The configuration is wrong. Holds every problem that was found, not only the first.

    Args:
        problems: One line for each problem, such as ``pipeline.yaml:5: model.name: ...``.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class PluginError(XaiError):
    """An installed plugin is broken: the message names package, version, target and cause."""

    exit_code = 3
