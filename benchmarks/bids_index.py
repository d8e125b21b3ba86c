"""How long it takes to find the T1w images of 10,000 people: pybids, and the index of xai-datasets-mri.

Run it as ``python benchmarks/bids_index.py [people]``. It writes a folder of empty files (two visits for every second
person, T1w and FLAIR with their JSON files each) and times one after the other: pybids without and with its database,
where it is installed; the index for the first time, from its memory, and after a file was added. What counts are the
ratios. It also says whether each one notices the added file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xai_datasets_mri._bids import Collection
from xai_datasets_mri._files import ImageFiles
from xai_datasets_mri._index import Folders


def write_study(root: Path, people: int) -> None:
    """Write the folder."""
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "benchmark", "BIDSVersion": "1.10.0"}')
    for number in range(people):
        person = f"sub-{number:05d}"
        for visit in ("M00", "M12")[: 1 + number % 2]:
            folder = root / person / f"ses-{visit}" / "anat"
            folder.mkdir(parents=True)
            for suffix in ("T1w", "FLAIR"):
                (folder / f"{person}_ses-{visit}_{suffix}.nii.gz").touch()
                (folder / f"{person}_ses-{visit}_{suffix}.json").write_text("{}")


def by_index(root: Path) -> int:
    """Return the number of T1w images."""
    folders = Folders(root)
    images = Collection(folders, ImageFiles("image", root=root))
    count = sum(len(images.of(person)) for person in images.people())
    folders.save()
    return count


def by_pybids(root: Path, database: Path | None) -> int:
    """Return the number of T1w images."""
    from bids import BIDSLayout

    return len(BIDSLayout(root, validate=False, database_path=database).get(suffix="T1w", extension=".nii.gz"))


def timed(name: str, work: Callable[[], int]) -> float:
    """Print and return the wall time."""
    start = time.perf_counter()
    count = work()
    seconds = time.perf_counter() - start
    print(f"{name:<44} {seconds:8.2f} s  {count} images", flush=True)
    return seconds


def main(people: int = 10_000) -> None:
    """Print times and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        root = Path(folder, "study")
        write_study(root, people)
        time.sleep(4)  # folders that have just changed are not remembered
        cold = timed("index, first time", lambda: by_index(root))
        cached = timed("index, from its memory", lambda: by_index(root))
        ratios = {"first time / from its memory": cold / cached}
        database = Path(folder, "database")
        has_pybids = importlib.util.find_spec("bids") is not None
        if has_pybids:
            slow = timed("pybids", lambda: by_pybids(root, None))
            timed("pybids, writing its database", lambda: by_pybids(root, database))
            kept = timed("pybids, from its database", lambda: by_pybids(root, database))
            ratios |= {"pybids / index, first time": slow / cold, "pybids' database / index' memory": kept / cached}
        (root / "sub-00000/ses-M00/anat/sub-00000_ses-M00_run-2_T1w.nii.gz").touch()
        added = timed("index, after a file was added", lambda: by_index(root))
        ratios["after a file was added / from its memory"] = added / cached
        if has_pybids:
            timed("pybids' database, after a file was added", lambda: by_pybids(root, database))
    for name, ratio in ratios.items():
        print(f"{name:<44} {ratio:8.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
