"""Several processes that train one fold together, one for each device."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xai_core import InputError, RunContext, RunError, XaiError

from ._cluster import in_slurm
from ._lightning import Job, train
from ._shards import Share

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from ._watch import Outcome

__all__ = ["check_devices", "train_together"]


def check_devices(devices: int, validation: int, context: RunContext) -> None:
    """Refuse a number of devices that is not there, or too large for the validation part.

    Raises:
        InputError: See above.
    """
    if devices == 1:
        return
    where = f"training.params.devices: {devices}"
    if context.device.type == "cuda":
        there = torch.cuda.device_count()
        if context.device.index is not None:
            raise InputError(f"{where}, but device: {context.device} names one. Write device: cuda, or devices: 1.")
        if devices > there:
            raise InputError(f"{where}, but this machine has {there} GPU{'s' * (there != 1)}. Give at most {there}.")
    elif context.device.type != "cpu":
        raise InputError(f"{where} works on GPUs of CUDA and on CPUs, not on {context.device.type}. Use devices: 1.")
    if 0 < validation < devices:
        raise InputError(
            f"{where}, but fold {context.fold} has {validation} validation scan{'s' * (validation != 1)} only. Give "
            "fewer devices, or a larger validation part."
        )


def train_together(job: Job, context: RunContext, devices: int) -> Outcome:
    """Train on several devices and return what the first one has; ``job.model`` is left as it was.

    The processes are started anew (not forked: CUDA cannot be), so that network and data must allow pickling. They end
    with this process, however that ends. Hooks and log lines are carried out here.

    Raises:
        InputError: Network or data cannot be sent to another process.
        RunError: A process died.
    """
    try:
        payload = pickle.dumps((job, _plain(context)))
    except Exception as error:
        raise InputError(
            f"training.params.devices: {devices}: network or data cannot be sent to other processes "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Use devices: 1."
        ) from error
    spawn = multiprocessing.get_context("spawn")
    lifeline, held = spawn.Pipe(duplex=False)
    processes: list[BaseProcess] = []
    connections: list[Connection] = []
    with tempfile.TemporaryDirectory() as meeting, held, lifeline:
        try:
            for rank in range(devices):
                here, there = spawn.Pipe()
                arguments = (payload, Share(rank, devices), str(Path(meeting, "processes")), there, lifeline)
                process = spawn.Process(target=_work, args=arguments, name=f"training-{rank}")
                process.start()
                there.close()
                processes.append(process)
                connections.append(here)
            with _requeue_passed_on(processes[0]):
                return _listen(processes, connections, context)
        finally:
            for started in processes:
                started.terminate()
            for ended in processes:
                ended.join(10)
                if ended.is_alive():
                    ended.kill()
                    ended.join()


def _plain(context: RunContext) -> dict[str, Any]:
    """The context without the functions, which stay here."""
    values = {each.name: getattr(context, each.name) for each in dataclasses.fields(context)}
    return {name: value for name, value in values.items() if not callable(value)}


@contextmanager
def _requeue_passed_on(first: BaseProcess) -> Iterator[None]:
    """Leave SLURM's signal before the end of a job to the first process, where Lightning waits for it."""
    if not (in_slurm() and threading.current_thread() is threading.main_thread()):
        yield
        return

    def pass_on(number: int, _frame: object) -> None:
        os.kill(first.pid or 0, number)

    before = signal.signal(signal.SIGUSR1, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _listen(processes: Sequence[BaseProcess], connections: Sequence[Connection], context: RunContext) -> Outcome:
    """Do what the processes ask for until the first one sends its outcome."""
    rank_of: dict[Any, int] = {connection: rank for rank, connection in enumerate(connections)}
    while True:
        for ready in wait([*rank_of]):
            assert isinstance(ready, Connection)
            rank = rank_of[ready]
            try:
                kind, *content = pickle.loads(ready.recv_bytes())
            except EOFError:
                processes[rank].join(10)
                raise RunError(_death(rank, processes[rank].exitcode, len(processes))) from None
            if kind == "log":
                context.log(content[0])
            elif kind == "epoch":
                ready.send_bytes(pickle.dumps(context.on_epoch(*content)))
            elif kind == "failed":
                raise content[0]
            elif rank == 0:
                outcome: Outcome = content[0]
                return outcome
            else:
                del rank_of[ready]


def _death(rank: int, code: int | None, devices: int) -> str:
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    return (
        f"Process {rank} of the {devices} that train together {how}. Killed: memory may have run out; lower batch_size "
        "or workers. At its start: a Python script that trains must do so below if __name__ == '__main__':."
    )


def _work(payload: bytes, share: Share, meeting: str, connection: Connection, lifeline: Connection) -> None:
    """One process: its share of the training."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    try:
        _send(connection, "done", _outcome(payload, share, meeting, connection))
    except BaseException as error:
        _send(connection, "failed", _portable(error))


def _end_with_parent(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except EOFError:
        os._exit(1)


def _outcome(payload: bytes, share: Share, meeting: str, connection: Connection) -> Outcome | None:
    job, values = pickle.loads(payload)
    is_first = share.rank == 0
    context = RunContext(**values)
    if is_first:
        context = dataclasses.replace(context, on_epoch=_asking(connection), log=_logging(connection))
    is_gpu = context.device.type == "cuda"
    torch.set_deterministic_debug_mode("warn")
    if is_gpu:
        torch.cuda.set_device(share.rank)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // share.ranks))
    torch.distributed.init_process_group(
        "nccl" if is_gpu else "gloo", init_method=Path(meeting).as_uri(), rank=share.rank, world_size=share.ranks
    )
    outcome = train(job, context, share)
    return outcome if is_first else None


def _send(connection: Connection, *content: object) -> None:
    connection.send_bytes(pickle.dumps(content))


def _asking(connection: Connection) -> Callable[[int, Mapping[str, float]], bool]:
    def ask(epoch: int, scalars: Mapping[str, float]) -> bool:
        _send(connection, "epoch", epoch, dict(scalars))
        return bool(pickle.loads(connection.recv_bytes()) is not False)

    return ask


def _logging(connection: Connection) -> Callable[[str], None]:
    return lambda line: _send(connection, "log", line)


def _portable(error: BaseException) -> Exception:
    """The error itself where it is one of ours, otherwise one with its traceback in words."""
    if isinstance(error, XaiError):
        return type(error)(str(error))
    last = "".join(traceback.format_exception(error)[-3:])
    return RunError(f"A process that trains together with others failed:\n{last}")
