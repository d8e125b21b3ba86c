"""The quality control of a cohort: its page and table in a run, and by ``xai qc`` without one."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio
from click.testing import CliRunner

from xai_core import InputError, Pipeline
from xai_core.cli import cli
from xai_core.engine.scans import ScanChecks
from xai_core.testing._toys import TOY_PIPELINE, ToyTrainer, register_toys, write_toy_study
from xai_datasets_mri import _quality
from xai_datasets_mri._quality import look_at, quality_of_run, write_quality
from xai_datasets_mri._quality_study import subjects_of_table

Array = np.ndarray[Any, Any]
NASTY = """<script>alert('1')</script>"><img src=x onerror=alert(2)>&amp;"""


def scan(path: Path, **about: Any) -> tio.Subject:
    return tio.Subject(image=tio.ScalarImage(path, verify_path=False), **{"subject_id": path.name[:2], **about})


@pytest.fixture
def scans(tmp_path: Path) -> list[tio.Subject]:
    """Eight images of a toy study."""
    write_toy_study(tmp_path / "study")
    return [scan(path) for path in sorted((tmp_path / "study").glob("*.nii.gz"))]


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "quality.tsv", sep="\t", na_values=["n/a"], keep_default_na=False, dtype={"site": str})


class Reader(HTMLParser):
    """Collects the elements of a page, their texts and what they would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_run_folder_gets_a_page_and_a_table(scans: list[tio.Subject], tmp_path: Path) -> None:
    quality_of_run(scans, tmp_path)
    rows = table(tmp_path / "quality")
    assert list(rows["scan_id"]) == [f"sub-{s['subject_id']}" for s in scans]
    values = nib.load(scans[0]["image"].path).get_fdata()
    first = rows.iloc[0]
    assert (first["shape"], first["spacing"], first["orientation"]) == ("9 x 10 x 8", "3 x 3 x 3", "LAS")
    np.testing.assert_allclose(first[["min", "median", "max"]].astype(float), np.percentile(values, [0, 50, 100]))
    assert rows["flags"].notna().all(), "a field of view of 27 mm is no head's"
    page = (tmp_path / "quality" / "index.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.tags.count("img") == 8
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources), "self-contained"
    assert "://" not in re.sub(r"base64,[^\"]*", "", page)


def test_nothing_is_done_again(scans: list[tio.Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quality_of_run(scans, tmp_path)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "quality").iterdir()}
    monkeypatch.setattr(_quality, "measure", None)
    quality_of_run(scans, tmp_path)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "quality").iterdir()} == before
    shutil.rmtree(tmp_path / "quality")
    quality_of_run(scans, tmp_path)
    after = {p.name: p.read_bytes() for p in (tmp_path / "quality").iterdir()}
    assert after == {name: content for name, (content, _) in before.items()}, "made anew, without reading a scan"


def test_only_what_changed_is_read(scans: list[tio.Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quality_of_run(scans, tmp_path)
    path = scans[2]["image"].path
    nib.save(nib.Nifti1Image(np.random.default_rng(9).random((9, 10, 8)).astype("f4") * 50, np.eye(4)), path)
    read: list[str] = []
    original = _quality.measure
    monkeypatch.setattr(_quality, "measure", lambda *a: read.append("x") or original(*a))  # type: ignore[func-returns-value]
    changed = [scan(Path(s["image"].path)) for s in scans][1:]
    quality_of_run(changed, tmp_path)
    assert len(read) == 1
    rows = table(tmp_path / "quality").set_index("scan_id")
    assert rows.loc["sub-a4", "max"] > 40
    kept = {p.stem for p in (tmp_path / ".xai" / "quality").iterdir()}
    assert kept == set(rows.index), "what was kept of somebody who left is removed"


def test_each_image_is_read_once(scans: list[tio.Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash, checks and numbers come from one reading, which the run finds done."""
    quality_of_run(scans, tmp_path)
    monkeypatch.setattr("xai_core.engine.scans.read_image_file", None)
    looks = ScanChecks(tmp_path / ".xai" / "scans.json").look(scans, [f"sub-{s['subject_id']}" for s in scans])
    assert all(look.digest for look in looks)


def test_bad_images_are_rows_with_the_reason(scans: list[tio.Subject], tmp_path: Path) -> None:
    cut = Path(scans[1]["image"].path)
    cut.write_bytes(cut.read_bytes()[:-9])
    quality_of_run([*scans, scan(tmp_path / "gone.nii.gz")], tmp_path)
    rows = table(tmp_path / "quality").set_index("scan_id")
    assert "EOFError" in rows.loc["sub-a2", "problem"]
    assert "does not exist" in rows.loc["sub-go", "problem"]
    assert rows["problem"].notna().sum() == 2
    assert pd.isna(rows.loc["sub-a2", "shape"])
    text = (tmp_path / "quality" / "index.html").read_text(encoding="utf-8")
    assert "9 images; 2 cannot be used" in text
    assert Reader(text).tags.count("img") == 7


def test_failure_of_one_drawing_is_a_row_with_the_reason(
    scans: list[tio.Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = _quality.strip

    def fails_once(values: Array, *rest: Any) -> Array:
        if np.array_equal(values, nib.load(scans[3]["image"].path).get_fdata(dtype=np.float32)):
            raise ZeroDivisionError("no pixels")
        return original(values, *rest)

    monkeypatch.setattr(_quality, "strip", fails_once)
    quality_of_run(scans, tmp_path)
    rows = table(tmp_path / "quality")
    assert list(rows.index[rows["problem"].notna()]) == [3]
    assert rows.loc[3, "problem"] == "ZeroDivisionError: no pixels"
    assert "no picture" in rows.loc[3, "flags"]
    assert Reader((tmp_path / "quality" / "index.html").read_text(encoding="utf-8")).tags.count("img") == 7


def test_everything_from_the_data_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "<b>&x"
    write_toy_study(folder)
    paths = sorted(folder.glob("*.nii.gz"))
    bad = folder / "<i>gone.nii.gz"
    subjects = [scan(paths[0], subject_id=NASTY, site=NASTY), scan(bad, subject_id="b", site="<u>")]
    checks = ScanChecks(None)
    _, rows = look_at(subjects, [NASTY, "sub-<b>"], checks)
    write_quality(rows(), tmp_path, NASTY)
    reader = Reader((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert not reader.handlers
    assert reader.tags.count("script") == 1
    assert not {"b", "i", "u"} & set(reader.tags)
    assert reader.tags.count("img") == 1
    assert NASTY in reader.cells, "it is shown as it is"


def test_sites_channels_and_masks(tmp_path: Path) -> None:
    write_toy_study(tmp_path / "study")
    paths = sorted((tmp_path / "study").glob("*.nii.gz"))
    mask = np.zeros((9, 10, 8), "u1")
    mask[2:5, 2:5, 2:5] = 1
    affine = nib.load(paths[0]).affine
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    subject = tio.Subject(
        image=tio.ScalarImage(paths[:2]), mask=tio.LabelMap(tmp_path / "mask.nii.gz"), subject_id="p", site="A"
    )
    memory = tio.Subject(image=tio.ScalarImage(tensor=torch.rand(2, 9, 10, 8), affine=affine), subject_id="q")
    for _ in range(2):
        quality_of_run([subject, memory], tmp_path)
        rows = table(tmp_path / "quality")
        assert list(rows["scan_id"]) == ["sub-p", "sub-p", "sub-q", "sub-q"]
        assert list(rows["channel"]) == [0, 1, 0, 1]
        assert list(rows["volume_of"][:2]) == ["mask", "mask"]
        np.testing.assert_allclose(rows["volume_ml"][:2], 27 * 27 / 1000)
        assert [Path(p).name for p in rows["image"][:2]] == [path.name for path in paths[:2]]
    text = (tmp_path / "quality" / "index.html").read_text(encoding="utf-8")
    assert all(f'<button type="button">{name}</button>' in text for name in ("site", "channel"))


# --- in a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    write_toy_study(tmp_path / "study", people=12)
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield tmp_path
    register_toys()


def test_a_run_makes_it_and_the_second_does_nothing(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Pipeline.from_file(toy / "toy.yaml").run("train").folder
    assert {p.name for p in (folder / "quality").iterdir()} == {"index.html", "quality.tsv"}
    when = (folder / "quality" / "index.html").stat().st_mtime_ns
    monkeypatch.setattr(ToyTrainer, "train", None)
    Pipeline.from_file(toy / "toy.yaml").run("train")
    assert (folder / "quality" / "index.html").stat().st_mtime_ns == when
    shutil.rmtree(folder / "quality")
    Pipeline.from_file(toy / "toy.yaml").run("train")
    assert (folder / "quality" / "index.html").is_file()


def test_it_can_be_turned_off(toy: Path) -> None:
    folder = Pipeline.from_file(toy / "toy.yaml", ["quality=false"]).run("train").folder
    assert not (folder / "quality").exists()
    Pipeline.from_file(toy / "toy.yaml").run("train")  # it decides nothing in the results: no other configuration
    assert (folder / "quality").is_dir()


def test_what_fails_in_it_does_not_fail_the_run(
    toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: Any) -> str:
        raise MemoryError("no room")

    monkeypatch.setattr(_quality, "page", fail)
    folder = Pipeline.from_file(toy / "toy.yaml").run("train").folder
    assert (folder / "metrics.json").is_file()
    assert "the page of image quality could not be made: MemoryError: no room" in caplog.text
    assert not (folder / "quality").exists()


def test_a_refused_study_leaves_nothing_behind(toy: Path) -> None:
    (toy / "study" / "a0.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        Pipeline.from_file(toy / "toy.yaml").run("train")
    assert not (toy / "results").exists()


def test_skipped_scans_are_on_the_page(toy: Path) -> None:
    (toy / "study" / "a0.nii.gz").write_bytes(b"")
    folder = Pipeline.from_file(toy / "toy.yaml").run("train", skip_bad=True).folder
    assert "is empty" in table(folder / "quality").set_index("scan_id").loc["sub-a0", "problem"]
    when = (folder / "quality" / "index.html").stat().st_mtime_ns
    Pipeline.from_file(toy / "toy.yaml").run("train")
    assert (folder / "quality" / "index.html").stat().st_mtime_ns == when


# --- xai qc -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def qc() -> Callable[..., tuple[int, str]]:
    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["qc", *map(str, arguments)])
        said = result.stdout if result.exit_code == 0 else result.output  # progress goes to stderr where it takes long
        return result.exit_code, said + (str(result.exception) if result.exception else "")

    return call


def write_table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_qc_of_a_pipeline(toy: Path, qc: Callable[..., tuple[int, str]]) -> None:
    (toy / "study" / "a0.nii.gz").write_bytes(b"")
    code, out = qc(toy / "toy.yaml")
    assert code == 0, out
    assert "sub-a0: the image" in out
    assert "12 images, 1 cannot be used" in out
    assert len(table(toy / "toy-quality")) == 12
    assert not (toy / "results").exists()
    assert not (toy / "toy-quality" / ".xai").exists()


def test_qc_of_a_table(toy: Path, qc: Callable[..., tuple[int, str]]) -> None:
    people = write_table(
        toy / "people.tsv", "participant_id\tage\tt1w\tsite\tsession_id", "sub-01\t70\tstudy/a0.nii.gz\tA\tM00",
        "01\t71\tstudy/a2.nii.gz\tA\tM12", "02\tn/a\tgone.nii.gz\tn/a\tM00",
    )  # fmt: skip
    code, out = qc(people, "--output", toy / "here", "--json")
    assert code == 0, out
    found = json.loads(out)
    assert found["problems"] == [f"sub-02_ses-M00: the image {toy / 'gone.nii.gz'} does not exist."]
    assert found["page"] == str(toy / "here" / "index.html")
    rows = table(toy / "here")
    assert list(rows["scan_id"]) == ["sub-01_ses-M00", "sub-01_ses-M12", "sub-02_ses-M00"]
    assert list(rows["site"][:2]) == ["A", "A"]


@pytest.mark.parametrize(
    ("rows", "image", "message"),
    [
        (
            ["participant_id\tage", "1\t70"],
            None,
            r"which column holds the images' paths\? .*Columns: .*, age",
        ),
        (["participant_id\ta\tb", "1\tx.nii\ty.nii"], None, "Such columns: a, b"),
        (["participant_id\ta\tb", "1\tx.nii\ty.nii"], "c", "'c'"),
        (["id\tt1w", "1\tx.nii"], None, "participant_id"),
        (["participant_id\tt1w", "1\tx.nii", "2\tn/a"], None, "row 3 has no person or no image"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, rows: list[str], image: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        subjects_of_table(write_table(tmp_path / "t.tsv", *rows), image, "participant_id")


def test_wrong_arguments(toy: Path, qc: Callable[..., tuple[int, str]]) -> None:
    assert qc(toy / "gone.tsv")[0] == 2
    assert qc(toy / "toy.yaml", "--image", "x")[0] == 2
    (toy / "file").touch()
    code, out = qc(toy / "toy.yaml", "--output", toy / "file")
    assert code != 0
    assert "cannot be written" in out


@pytest.fixture(autouse=True)
def _log_reaches_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
