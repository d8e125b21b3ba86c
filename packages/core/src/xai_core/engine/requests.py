"""What explainers share: checked volumes, outputs and targets, full precision, a model left as it was.

For authors of explainers: ``explaining`` is all that one needs which works on the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import InputError, XaiError
from ..types import Attribution
from .batching import is_out_of_memory
from .gradients import check_gradient
from .mixing import mixes_batch

__all__ = [
    "Explained",
    "as_attribution",
    "check_initialised",
    "check_volumes",
    "differentiating",
    "explaining",
    "full_precision",
    "logits",
    "resolve_target",
    "unwrapped",
]

# What autograd says where no gradient leads from the output to the tensor that it was asked for.
_NO_GRADIENT = ("does not require grad", "appears to not have been used in the graph")


@dataclass(frozen=True)
class Explained:
    """One checked request.

    Attributes:
        forward: Maps [N, C, D, H, W] to outputs [N, outputs]; never changes its argument. A network whose outputs
            depend on the rest of the batch is run on each volume by itself.
        volumes: A copy of the volumes [N, C, D, H, W], a leaf that requires gradients.
        target: int64 [N], on the device of the volumes.
        output: [N], the explained output.
    """

    forward: Callable[[Tensor], Tensor]
    volumes: Tensor
    target: Tensor
    output: Tensor


@contextmanager
def explaining(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, gradients: bool = True
) -> Iterator[Explained]:
    """Check a request and hold the model in evaluation mode with gradients on, whatever the caller's mode.

    Every module gets its own training flag back, also after an exception.

    Args:
        model: Maps [N, C, D, H, W] to [N, outputs].
        volumes: float32 [N, C, D, H, W].
        target: int64 [N], or None.
        gradients: Whether the map is made of this model's gradients, which are then checked once.

    Raises:
        InputError: Volumes, output or target are not what ``Explainer.explain`` asks for, or the model's gradient is
            not its derivative.
    """
    check_volumes(volumes)
    model = unwrapped(model)
    check_initialised(model)
    _check_device(model, volumes)
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        _check_evaluation_mode(model)
        # A caller's no_grad, inference_mode or autocast must not reach the gradients.
        with torch.inference_mode(False), torch.enable_grad(), full_precision(volumes.device):
            copy = volumes.detach().to(_precision(model), copy=True).requires_grad_()
            forward = partial(_one_by_one if mixes_batch(model, copy[:1].detach()) else logits, model)
            with torch.no_grad():
                outputs = forward(copy)
            resolved = resolve_target(outputs, target)
            output = outputs.gather(1, resolved[:, None])[:, 0]
            if gradients:
                _check_not_quantised(model)
                check_gradient(model, copy)
            yield Explained(forward, copy, resolved, output)
    finally:
        # Not model.train(): some networks override it, and submodules may differ.
        for module, flag in flags:
            module.training = flag


def logits(model: nn.Module, volumes: Tensor) -> Tensor:
    """Return the model's output [N, outputs], checked, and leave ``volumes`` as they were.

    Raises:
        InputError: The output is not one finite tensor [N, outputs].
    """
    # The copy lets a network begin with an in-place operation, which autograd forbids on a leaf.
    output = _run(model, volumes.clone())
    if not isinstance(output, Tensor):
        raise InputError(
            f"The model returns {type(output).__name__}, but an explainer needs one tensor [N, outputs]. "
            "Wrap the model in a module that returns the output to explain."
        )
    if output.ndim != 2 or output.shape[0] != volumes.shape[0]:
        raise InputError(
            f"The model returns a tensor {list(output.shape)} for {volumes.shape[0]} volumes, but an "
            "explainer needs [N, outputs]. Wrap the model in a module that returns this shape."
        )
    if not bool(torch.isfinite(output).all()):
        raise InputError(
            f"The model's output is not finite ({output.detach().tolist()}), so it cannot be explained. "
            "Check the weights."
        )
    return output


def _one_by_one(model: nn.Module, volumes: Tensor) -> Tensor:
    return torch.cat([logits(model, volume) for volume in volumes.split(1)])


def _run(model: nn.Module, volumes: Tensor) -> Any:
    try:
        return model(volumes)
    except XaiError:
        raise
    except Exception as error:  # whatever the user's network raises
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n", 1)[0]
        raise InputError(
            f"{type(model).__name__} does not run on volumes of shape {list(volumes.shape)} "
            f"({type(error).__name__}: {reason}). Give volumes of the size and with the channels that it takes."
        ) from error


@contextmanager
def differentiating(source: str) -> Iterator[None]:
    """Turn autograd's error about a missing path into an InputError that names ``source``."""
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            raise InputError(
                "The network changes a tensor in place that its own gradient needs: it cannot be trained or explained "
                "by gradients. Write y = y + z in place of y += z there."
            ) from error
        if not any(text in str(error) for text in _NO_GRADIENT):
            raise
        raise InputError(
            f"No gradient leads from the model's output to {source}: the output does not depend on "
            "it, or forward detaches it (detach, no_grad, argmax, NumPy). Explain a model that is "
            "differentiable throughout."
        ) from error


def as_attribution(
    explained: Explained, relevance: Tensor, details: Sequence[Mapping[str, Any]] | None = None
) -> Attribution:
    """Return the Attribution of ``relevance`` [N, C, D, H, W].

    Raises:
        InputError: The relevance is not finite.
    """
    relevance = relevance.detach().to(torch.float32).contiguous()
    finite = torch.isfinite(relevance).flatten(1).all(1)
    if not bool(finite.all()):
        raise InputError(
            f"The map of volumes[{int((~finite).nonzero()[0])}] is not finite although the output is. "
            "Check the weights and the range of the intensities."
        )
    return Attribution(relevance, explained.output.detach().to(torch.float32), explained.target, details)


def check_volumes(volumes: Tensor) -> None:
    """Check that volumes are floating point [N, C, D, H, W], not empty and finite.

    Raises:
        InputError: They are not; the message says which of them and what.
    """
    if not isinstance(volumes, Tensor) or volumes.ndim != 5 or volumes.numel() == 0:
        what = f"a tensor {list(volumes.shape)}" if isinstance(volumes, Tensor) else type(volumes).__name__
        raise InputError(f"volumes must be a tensor [N, C, D, H, W], not empty; this is {what}.")
    if not volumes.is_floating_point():
        raise InputError(f"volumes must be float32, not {volumes.dtype}. Convert them with .float().")
    wrong = (~torch.isfinite(volumes)).flatten(1).sum(1)
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0])
        raise InputError(
            f"volumes[{index}] has {int(wrong[index])} voxels that are NaN or infinite. Replace them before explaining."
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch off reduced precision: with TF32 the parts of a cancelling sum keep three digits only."""
    with torch.autocast(device.type, enabled=False):
        if device.type == "cuda":
            matmul = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = False
            try:
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                    yield
            finally:
                torch.backends.cuda.matmul.allow_tf32 = matmul
        else:
            yield


def check_initialised(model: nn.Module) -> None:
    """Refuse a network with lazy layers that have not run yet: explaining it would give it random weights.

    Raises:
        InputError: It has some; the message names one.
    """
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(
                f"The weights of {name} are not there yet (a lazy layer). Run the network on a volume, and train it."
            )


def _check_device(model: nn.Module, volumes: Tensor) -> None:
    devices = {tensor.device for tensor in model.parameters()}
    if devices and volumes.device not in devices:
        found = ", ".join(sorted(str(device) for device in devices))
        raise InputError(f"The volumes are on {volumes.device}, but the model is on {found}. Move one to the other.")


def _check_evaluation_mode(model: nn.Module) -> None:
    # Some networks override train(). Running a batch normalisation in training would change its statistics.
    stuck = [(name, module) for name, module in model.named_modules() if module.training]
    if stuck:
        name, module = stuck[-1]  # the innermost says most
        raise InputError(
            f"Module {name!r} ({type(module).__name__}) stays in training mode after model.eval(), so the output "
            "depends on the batch or on chance. Let its train(False) end training mode."
        )


def _check_not_quantised(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            raise InputError(
                f"Module {name!r} ({type(module).__name__}) is quantised and has no gradient. Explain the network as "
                "it was before, or use occlusion."
            )


def _precision(model: nn.Module) -> torch.dtype:
    """Return the data type in which the model computes.

    Raises:
        InputError: Half precision, in which the gradient at a voxel of a large volume becomes 0.
    """
    found = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    low = sorted(str(dtype) for dtype in found - {torch.float32, torch.float64})
    if low:
        raise InputError(
            f"The model's parameters are {', '.join(low)}, in which gradients lose their digits or vanish. "
            "Convert it with model.float()."
        )
    return torch.float64 if torch.float64 in found else torch.float32


def resolve_target(outputs: Tensor, target: Tensor | None) -> Tensor:
    """Return the indices of the outputs to explain, int64 [N] on the device of ``outputs`` [N, outputs].

    Args:
        outputs: What the model returned.
        target: int64 [N], or None for the largest output of each volume (the only one of a regression).

    Raises:
        InputError: The target has another shape or type, or there is no such output.
    """
    count, classes = outputs.shape
    if target is None:
        return outputs.argmax(1)  # 0 where there is one output
    if not isinstance(target, Tensor) or target.shape != (count,) or not _integral(target):
        what = f"{target.dtype} {list(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
        raise InputError(f"target must be int64 [{count}], one index for each volume, not {what}.")
    wrong = ((target < 0) | (target >= classes)).nonzero()
    if len(wrong):
        index = int(wrong[0])
        allowed = "only 0 can be explained" if classes == 1 else f"give 0 to {classes - 1}"
        outputs_text = "1 output" if classes == 1 else f"{classes} outputs"
        raise InputError(f"target[{index}] is {int(target[index])}, but the model has {outputs_text}: {allowed}.")
    return target.to(device=outputs.device, dtype=torch.int64)


def _integral(target: Tensor) -> bool:
    return target.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
