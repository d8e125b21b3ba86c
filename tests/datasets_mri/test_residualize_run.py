"""What is fitted belongs to its fold: in a whole run, validation and test people have no part in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import InputError
from xai_core.engine.pipeline import Pipeline
from xai_core.engine.progress import log
from xai_core.engine.results import RunResults
from xai_core.testing._toys import register_toys
from xai_datasets_mri._harmonize import ScanHarmonize
from xai_datasets_mri._residualize import ScanResidualize

PIPELINE = """version: 1
name: run
seed: 3
device: cpu
output: {output}
data:
  name: participants
  params: {{table: {folder}/people.tsv, image: t1w, target: diagnosis}}
  transforms:
    - {{name: residualize, params: {{covariates: [age, sex], fit_on: all}}}}
    - {{name: harmonize}}
split: {{name: stratified-kfold, params: {{folds: 2, validation: 0.2}}}}
model: {{name: toy}}
training: {{name: toy}}
explainers: [{{name: toy}}]
"""


def write_study(folder: Path, wild: Sequence[str] = ()) -> None:
    """Write 24 people; of ``wild`` ones the image, the age and the sex are others."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(24):
        rng, person = np.random.default_rng(number), f"{number:02d}"
        age = float(rng.uniform(55, 90))
        values = rng.normal(0, 1, (9, 10, 8)) + 0.05 * (age - 70) * np.linspace(0, 1, 8)
        about = {
            "diagnosis": ["CN", "AD"][number % 2],
            "age": age,
            "sex": "FM"[rng.integers(2)],
            "site": "ab"[number // 2 % 2],
        }
        if person in wild:
            values, about["age"], about["sex"] = 1e6 * rng.random((9, 10, 8)), 1e4 + number, "FM"[number % 2]
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0])), folder / f"{person}.nii.gz")
        rows.append({"participant_id": person, "t1w": f"{person}.nii.gz", **about})
    pd.DataFrame(rows).to_csv(folder / "people.tsv", sep="\t", index=False)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    before = log.propagate, log.level, list(log.handlers)
    write_study(tmp_path / "study")
    yield tmp_path
    log.propagate, log.level, log.handlers[:] = before


def pipeline(folder: Path, study: str = "study") -> Pipeline:
    path = folder / f"{study}.yaml"
    path.write_text(PIPELINE.format(folder=folder / study, output=folder / f"{study}-results"), encoding="utf-8")
    return Pipeline.from_file(path)


def parts(results: RunResults, fold: int, *names: str) -> set[str]:
    table = results.splits()
    return set(table.loc[(table["fold"] == fold) & table["part"].isin(names), "subject_id"])


def tensors(state: Any, path: str = "") -> dict[str, torch.Tensor]:
    """Return every tensor of a nested state, and every number as one, by its path."""
    if isinstance(state, torch.Tensor):
        return {path: state}
    if isinstance(state, dict | list):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in items for k, v in tensors(value, f"{path}/{key}").items()}
    return {path: torch.tensor(state, dtype=torch.float64)} if isinstance(state, int | float) else {}


def learnt(results: RunResults, fold: int) -> dict[str, torch.Tensor]:
    return tensors(torch.load(results.folder / f"fold-{fold}" / "transforms.pt", weights_only=True))


def test_validation_and_test_people_do_not_move_what_is_learnt(folder: Path) -> None:
    first = pipeline(folder).run("train")
    wild = parts(first, 0, "val", "test")
    assert len(wild) > 12
    write_study(folder / "other", sorted(wild))
    second = pipeline(folder, "other").run("train")
    assert parts(second, 0, "train") == parts(first, 0, "train") == {f"{n:02d}" for n in range(24)} - wild
    one, other = learnt(first, 0), learnt(second, 0)
    assert {"/0/coefficients", "/0/mask", "/1/shift", "/1/spread"} <= set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    # They do matter where they train, and to their own predictions.
    assert not torch.equal(learnt(first, 1)["/0/coefficients"], learnt(second, 1)["/0/coefficients"])
    before, after = (r.predictions().set_index(["fold", "subject_id"])["probability_AD"] for r in (first, second))
    assert not np.isclose(before[0], after[0][before[0].index]).any()


class Spy(Sequence[tio.Subject]):
    """Notes whose scans and whose values a transform is given."""

    seen: ClassVar[list[set[str]]] = []

    def __init__(self, subjects: Any) -> None:
        self._subjects = subjects
        self.people: set[str] = {row["subject_id"] for row in subjects.about}
        Spy.seen.append(self.people)

    @property
    def about(self) -> Any:
        return self._subjects.about

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: Any) -> Any:
        subject = self._subjects[index]
        self.people.add(subject["subject_id"])
        return subject


def test_fit_is_given_the_people_of_the_training_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spy, "seen", [])
    for kind in (ScanResidualize, ScanHarmonize):
        fit: Any = kind.fit
        monkeypatch.setattr(kind, "fit", lambda self, subjects, fit=fit: fit(self, Spy(subjects)))
    results = pipeline(folder).run("train")
    train = [parts(results, fold, "train") for fold in range(2)]
    assert Spy.seen == [people for people in train for _ in range(2)]  # two transforms in each of two folds


def stamps(results: RunResults) -> dict[str, int]:
    files = [*results.folder.glob("fold-*/checkpoint.pt"), *results.folder.glob("derivatives/**/*_relevance.nii.gz")]
    return {str(path.relative_to(results.folder)): path.stat().st_mtime_ns for path in files}


def test_a_corrected_age_makes_anew_what_it_decided(folder: Path) -> None:
    results = pipeline(folder).run("explain")
    before = stamps(results)
    assert len(before) == 2 + 24
    table = pd.read_csv(folder / "study" / "people.tsv", sep="\t", dtype={"participant_id": str})
    person = sorted(parts(results, 0, "test"))[0]
    table.loc[table["participant_id"] == person, "age"] += 5
    table.to_csv(folder / "study" / "people.tsv", sep="\t", index=False)
    old = results.predictions().set_index("subject_id")["probability_AD"]
    after = stamps(pipeline(folder).run("explain"))
    new = results.predictions().set_index("subject_id")["probability_AD"]
    kept = {name for name, stamp in before.items() if after[name] == stamp}
    assert "fold-0/checkpoint.pt" in kept  # where the person is tested
    own = [name for name in before if f"sub-{person}/" in name]
    assert own
    retrained = {"fold-1/checkpoint.pt"} if person in parts(results, 1, "train") else set()
    assert not kept & {*own, *retrained}
    assert old[person] != new[person]
    others = sorted(parts(results, 0, "test") - {person})
    assert list(old[others]) == list(new[others])


def test_a_new_scan_needs_its_covariates(folder: Path) -> None:
    made = pipeline(folder)
    row = made.run("train").predictions().iloc[0]
    table = pd.read_csv(folder / "study" / "people.tsv", sep="\t", dtype={"participant_id": str})
    about = table.set_index("participant_id").loc[row["subject_id"]]
    scan = folder / "study" / f"{row['subject_id']}.nii.gz"
    with pytest.raises(InputError, match=r"residualize needs age .* and sex \(F or M\).*--covariate age="):
        made.predict(scan, fold=int(row["fold"]))
    given = {"age": str(about["age"]), "sex": about["sex"], "site": about["site"]}  # as the command line gives them
    found = made.predict(scan, fold=int(row["fold"]), covariates=given)
    assert found["probability_AD"] == pytest.approx(row["probability_AD"], abs=1e-6)


def test_a_study_with_gaps_is_refused_before_anything_is_made(folder: Path) -> None:
    table = pd.read_csv(folder / "study" / "people.tsv", sep="\t", dtype={"participant_id": str})
    table.loc[[3, 7], "age"] = np.nan
    table.to_csv(folder / "study" / "people.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=r"residualize: some people lack a covariate \(age: sub-03, sub-07\)"):
        pipeline(folder).run("train")
    assert not (folder / "study-results").exists()


def test_augmentation_that_moves_voxels_comes_last(folder: Path) -> None:
    made = pipeline(folder)
    transforms = made.config["data"]["transforms"]
    transforms.insert(1, {"name": "random-flip", "params": {}})
    with pytest.raises(InputError, match=r"harmonize knows each voxel by its place, and random-flip before it moves"):
        made.run("train")
    transforms[1] = {"name": "random-noise", "params": {}}
    transforms.append({"name": "random-flip", "params": {}})
    made.run("train")
