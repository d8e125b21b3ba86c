"""How long ``xai --help`` takes, against a Python that imports only what every command line of this kind needs.

Run it as ``python benchmarks/cli_startup.py [repetitions]``. They are timed in turn: a busy machine slows all of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    'python -c "import click, yaml"': [sys.executable, "-c", "import click, yaml"],
    "xai --help": [str(Path(sys.executable).with_name("xai")), "--help"],
    "xai plugins": [str(Path(sys.executable).with_name("xai")), "plugins"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(repetitions: int = 7) -> None:
    """Print the medians and what they are in units of the first."""
    for command in COMMANDS.values():  # byte code and file cache
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repetitions):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:<32} {median * 1000:6.0f} ms  {median / base:5.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
