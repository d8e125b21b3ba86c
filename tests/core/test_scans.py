"""Every scan is looked at before long work starts, and each fault is one line that says whose scan and what."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
import torchio as tio

from xai_core import InputError
from xai_core.engine.imagefile import ImageRead, read_image_file
from xai_core.engine.looks import Look, grids_text
from xai_core.engine.scans import ScanChecks, check_image_file, image_of, several

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, -30], [0, 0, 0, 1]])
Array = np.ndarray[Any, Any]


def values(*shape: int, dtype: str = "f4") -> Array:
    return (np.random.default_rng(0).random(shape or (8, 9, 10)) * 90).astype(dtype)


def save(path: Path, data: Array | None = None, affine: Array = AFFINE) -> Path:
    data = values() if data is None else data
    nib.save(nib.Nifti1Image(data, affine, dtype=data.dtype), path)
    return path


def with_hole(hole: float) -> Array:
    data = values()
    data[1, 2, 3] = data[4, 5, 6] = hole
    return data


# --- what is fine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
def test_any_real_type_is_fine(tmp_path: Path, dtype: str) -> None:
    assert check_image_file(save(tmp_path / "x.nii.gz", values(dtype=dtype)), "p") is None


@pytest.mark.parametrize("shape", [(8, 9, 10), (8, 9, 10, 1), (8, 9, 10, 1, 1), (2, 2, 2)])
def test_further_dimensions_of_one_are_fine(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "x.nii", values(*shape))
    assert check_image_file(path, "p") is None
    assert tio.ScalarImage(path).shape == (1, *shape[:3]), "what is let through must be one volume for TorchIO"


def test_other_formats_are_fine(tmp_path: Path) -> None:
    image = tio.ScalarImage(tensor=torch.rand(1, 8, 9, 10), affine=AFFINE)
    for name in ("x.nrrd", "x.mha", "x.mhd", "x.NII"):
        image.save(tmp_path / name.lower())
        path = (tmp_path / name.lower()).rename(tmp_path / name)
        assert check_image_file(path, "p") is None, name
    nib.save(nib.Nifti1Pair(values(), AFFINE), tmp_path / "pair.img")
    nib.save(nib.MGHImage(values(), AFFINE), tmp_path / "x.mgz")
    assert check_image_file(tmp_path / "pair.img", "p") is None
    assert check_image_file(tmp_path / "pair.hdr", "p") is None
    assert check_image_file(tmp_path / "x.mgz", "p") is None
    assert check_image_file(dicom_folder(tmp_path / "dicom"), "p") is None


def dicom_folder(folder: Path) -> Path:
    """A series of five slices."""
    folder.mkdir()
    volume = SimpleITK.GetImageFromArray(values(5, 8, 9, dtype="i2"))
    for number in range(5):
        image = volume[:, :, number]
        for tag, text in (
            ("0008|0060", "MR"), ("0020|000e", "1.2.3"), ("0020|000d", "1.2"), ("0020|0013", str(number)),
            ("0020|0032", f"0\\0\\{number}"), ("0020|0037", "1\\0\\0\\0\\1\\0"), ("0008|0018", f"1.2.3.{number}"),
        ):  # fmt: skip
            image.SetMetaData(tag, text)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)
    return folder


# --- what is not ------------------------------------------------------------------------------------------------------


def text_file(path: Path) -> Path:
    path.write_text("participant\tage\n01\t70\n")
    return path


def truncated(path: Path) -> Path:
    save(path, np.random.default_rng(0).random((20, 20, 20)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def rgb(path: Path) -> Path:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros((8, 9, 10), kind), AFFINE), path)
    return path


def junk_folder(path: Path) -> Path:
    path.mkdir()
    text_file(path / "notes.txt")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def broken_nrrd(path: Path) -> Path:
    path.write_text("NRRD0004\n# nothing more\n")
    return path


def nan_nrrd(path: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(with_hole(np.nan)), str(path))
    return path


def vector_nrrd(path: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values(8, 9, 10, 3), isVector=True), str(path))
    return path


def forms(path: Path, sform: Array, scode: int, qform: Array, qcode: int) -> Path:
    image = nib.Nifti1Image(values(), None)
    image.header.set_qform(qform)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = sform[row]
    image.header["sform_code"], image.header["qform_code"] = scode, qcode
    path.write_bytes(image.to_bytes())
    return path


SINGULAR = np.diag([0.0, 2, 2, 1])
NAN_AFFINE = np.where(np.eye(4) == 1, np.nan, 0)
SCANNER = AFFINE.copy()
SCANNER[1, 3] += 31

FAULTS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "missing": ("x.nii", lambda p: p, r"does not exist\.$"),
    "empty": ("x.nii.gz", empty, r"is empty \(0 bytes\)\.$"),
    "text as nifti": ("x.nii.gz", text_file, r"cannot be read \(\w+: .+\)\.$"),
    "text as plain nifti": ("x.nii", text_file, r"cannot be read \(ImageFileError: .+\)\.$"),
    "text as mgz": ("x.mgz", text_file, r"cannot be read"),
    "truncated": ("x.nii.gz", truncated, r"cannot be read \(EOFError: .+\)\.$"),
    "truncated plain": ("x.nii", truncated, r"cannot be read"),
    "4D": ("x.nii", lambda p: save(p, values(8, 9, 10, 4)), r"has 4 dimensions \(8 x 9 x 10 x 4\)\. Give one 3D"),
    "5D": ("x.nii", lambda p: save(p, values(8, 9, 10, 1, 3)), r"has 5 dimensions \(8 x 9 x 10 x 1 x 3\)"),
    "2D": ("x.nii", lambda p: save(p, values(8, 9)), r"has 2 dimensions \(8 x 9\)"),
    "flat": ("x.nii", lambda p: save(p, values(8, 9, 1)), r"is flat \(8 x 9 x 1\)\. Give a 3D volume\.$"),
    "NaN": ("x.nii", lambda p: save(p, with_hole(np.nan)), r"has 2 voxels that are NaN or infinite\. Replace them"),
    "infinite": ("x.nii", lambda p: save(p, with_hole(-np.inf)), r"has 2 voxels that are NaN or infinite"),
    "constant": ("x.nii", lambda p: save(p, np.full((8, 9, 10), 7, "i2")), r"has the value 7 in every voxel\.$"),
    "RGB": ("x.nii", rgb, r"voxels, not one number each\.$"),
    "complex": ("x.nii", lambda p: save(p, values(dtype="c8")), r"holds complex64 voxels, not one number each\.$"),
    "singular affine": (
        "x.nii",
        lambda p: forms(p, SINGULAR, 1, AFFINE, 0),
        r"has no usable affine .* Repair",
    ),
    "NaN affine": ("x.nii", lambda p: forms(p, NAN_AFFINE, 1, AFFINE, 0), r"no usable affine"),
    "two positions": ("x.nii", lambda p: forms(p, AFFINE, 4, SCANNER, 1), r"two places up to 31\.0 mm apart .*sform"),
    "no position": ("x.nii", lambda p: forms(p, AFFINE, 0, AFFINE, 0), r"no clear position.* Check left and right"),
    "unknown extension": ("x.jpg", text_file, r"is no image that can be read\. Known: \.nii, \.nii\.gz"),
    "empty folder": ("folder", empty_folder, r"is an empty folder, not an image\.$"),
    "folder without images": ("folder", junk_folder, r"cannot be read \(\w+: "),
    "broken nrrd": ("x.nrrd", broken_nrrd, r"cannot be read"),
    "NaN in nrrd": ("x.nrrd", nan_nrrd, r"has 2 voxels that are NaN"),
    "vectors in nrrd": ("x.nrrd", vector_nrrd, r"holds 3 volumes of"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore")
def test_fault_is_one_line_with_name_and_path(tmp_path: Path, fault: str) -> None:
    name, make, expected = FAULTS[fault]
    path = make(tmp_path / name)
    message = check_image_file(path, "sub-07")
    assert message is not None
    assert message.startswith("sub-07: ")
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 420
    assert re.search(expected, message), message


def test_small_differences_of_the_two_forms_are_no_fault(tmp_path: Path) -> None:
    """A qform keeps a rotation as a quaternion in single precision: it never equals the sform to the bit."""
    turned = AFFINE.copy()
    turned[:3, :3] = nib.eulerangles.euler2mat(0.1, -0.2, 0.3) @ turned[:3, :3]
    assert check_image_file(forms(tmp_path / "x.nii", turned, 1, turned, 1), "p") is None
    assert check_image_file(forms(tmp_path / "y.nii", turned, 0, turned, 1), "p") is None
    assert check_image_file(forms(tmp_path / "z.nii", turned, 4, turned, 4), "p") is None


def test_read_error_of_many_lines_stays_short(tmp_path: Path) -> None:
    message = check_image_file(broken_nrrd(tmp_path / "x.nrrd"), "p")
    assert message is not None
    assert len(message.replace(str(tmp_path), "")) < 250


# --- several scans ----------------------------------------------------------------------------------------------------


def subject(path: Path) -> tio.Subject:
    return tio.Subject(image=tio.ScalarImage(path, verify_path=False), subject_id="p", target="a")


def checks(tmp_path: Path) -> ScanChecks:
    return ScanChecks(tmp_path / ".xai" / "scans.json")


def memory(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / ".xai" / "scans.json").read_text(encoding="utf-8")))


def test_all_problems_are_in_one_message(tmp_path: Path) -> None:
    good = [subject(save(tmp_path / f"good{i}.nii")) for i in range(2)]
    bad = [subject(save(tmp_path / f"bad{i}.nii", with_hole(np.nan))) for i in range(7)]
    with pytest.raises(InputError) as caught:
        checks(tmp_path).hashes([good[0], *bad, good[1]], ["g0", *(f"b{i}" for i in range(7)), "g1"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "7 scans cannot be used:"
    assert [line.partition(":")[0].strip() for line in lines[1:6]] == ["b0", "b1", "b2", "b3", "b4"]
    assert lines[6:] == ["  and 2 more"]
    assert {Path(key).stem for key in memory(tmp_path)} >= {"good0", "good1"}, "the good ones are not looked at again"


def test_one_problem_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        checks(tmp_path).hashes([subject(tmp_path / "gone.nii")], ["p1"])
    assert str(caught.value) == f"p1: the image {tmp_path / 'gone.nii'} does not exist."


@pytest.mark.parametrize(("number", "rest"), [(1, None), (2, None), (5, None), (6, "and 1 more")])
def test_several(number: int, rest: str | None) -> None:
    lines = several([f"problem {i}" for i in range(number)], "things are wrong").splitlines()
    assert lines[0] == ("problem 0" if number == 1 else f"{number} things are wrong:")
    assert (lines[-1].strip() == rest) if rest else ("more" not in lines[-1])


# --- hashes and their memory ------------------------------------------------------------------------------------------


class Counter:
    """Counts how often scans are really looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked: list[str] = []
        monkeypatch.setattr("xai_core.engine.scans.read_image_file", self)

    def __call__(self, path: Path, name: str, *, mask: bool = False) -> ImageRead:
        self.looked.append(f"mask of {name}" if mask else name)
        return read_image_file(path, name, mask=mask)


def test_unchanged_scans_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    scans = [subject(save(tmp_path / f"{i}.nii", values() + i)) for i in range(3)]
    names = ["a", "b", "c"]
    first = checks(tmp_path).hashes(scans, names)
    assert len(set(first)) == 3
    assert checks(tmp_path).hashes(scans, names) == first
    assert sorted(counter.looked) == names


def rewrite(path: Path) -> None:
    save(path, values() + 5)


def rewrite_and_set_back_the_time(path: Path) -> None:
    """What ``cp -p`` or ``rsync -t`` do: the same size and the same time of modification."""
    about = path.stat()
    rewrite(path)
    assert path.stat().st_size == about.st_size
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def replace_and_set_back_the_time(path: Path) -> None:
    about, new = path.stat(), path.with_name("new.nii")
    rewrite(new)
    os.utime(new, ns=(about.st_atime_ns, about.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize("change", [rewrite, rewrite_and_set_back_the_time, replace_and_set_back_the_time])
def test_changed_content_is_noticed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = save(tmp_path / "x.nii")
    (before,) = checks(tmp_path).hashes([subject(path)], ["p"])
    change(path)
    (after,) = checks(tmp_path).hashes([subject(path)], ["p"])
    assert after != before
    save(path)
    assert checks(tmp_path).hashes([subject(path)], ["p"]) == [before], "the hash is the content's"


def test_scan_that_broke_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii")
    checks(tmp_path).hashes([subject(path)], ["p"])
    save(path, with_hole(np.nan))
    with pytest.raises(InputError, match="NaN"):
        checks(tmp_path).hashes([subject(path)], ["p"])
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        checks(tmp_path).hashes([subject(path)], ["p"])


def test_data_of_a_pair_and_files_of_a_folder_are_noticed(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(values(), AFFINE), tmp_path / "pair.img")
    folder = dicom_folder(tmp_path / "dicom")
    scans = [subject(tmp_path / "pair.hdr"), subject(folder)]
    before = checks(tmp_path).hashes(scans, ["pair", "dicom"])
    assert checks(tmp_path).hashes(scans, ["pair", "dicom"]) == before
    nib.save(nib.Nifti1Pair(values() + 1, AFFINE), tmp_path / "pair.img")
    slice_ = folder / "3.dcm"
    data = bytearray(slice_.read_bytes())
    data[-1] ^= 1
    slice_.write_bytes(data)
    after = checks(tmp_path).hashes(scans, ["pair", "dicom"])
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7", "null"])
def test_broken_memory_is_made_anew(tmp_path: Path, text: str) -> None:
    path = save(tmp_path / "x.nii")
    (tmp_path / ".xai").mkdir()
    (tmp_path / ".xai" / "scans.json").write_text(text)
    (found,) = checks(tmp_path).hashes([subject(path)], ["p"])
    assert len(found) == 64
    assert str(path) in memory(tmp_path)


def test_several_files_of_one_image(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.nii", values() + i) for i in range(2)]
    both = tio.Subject(image=tio.ScalarImage(paths), subject_id="p")
    turned = tio.Subject(image=tio.ScalarImage(paths[::-1]), subject_id="p")
    one, other = checks(tmp_path).hashes([both, turned], ["p", "q"])
    assert one != other
    save(paths[1], with_hole(np.nan))
    with pytest.raises(InputError, match=r"p: the image .*1\.nii has 2 voxels"):
        checks(tmp_path).hashes([both], ["p"])


def in_memory(data: Array, affine: Array = AFFINE) -> tio.Subject:
    return tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(data)[None], affine=affine), subject_id="p")


def test_scans_in_memory_are_hashed_by_content_and_place(tmp_path: Path) -> None:
    data = values()
    scans = [
        in_memory(data), in_memory(data.copy()), in_memory(data + 1), in_memory(data, AFFINE + np.eye(4)),
        in_memory(data.astype("f8")), in_memory(data.reshape(9, 8, 10)),
    ]  # fmt: skip
    found = checks(tmp_path).hashes(scans, list("abcdef"))
    assert found[0] == found[1]
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (in_memory(with_hole(np.nan)), "p: the image has 2 voxels that are NaN"),
        (in_memory(np.zeros((3, 3, 3), "f4")), r"p: the image has the value 0\.0 in every voxel"),
        (in_memory(values(), SINGULAR), "p: the image has no usable affine"),
    ],
)
def test_faults_of_scans_in_memory(tmp_path: Path, scan: tio.Subject, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checks(tmp_path).hashes([scan], ["p"])


def test_image_of() -> None:
    scan = in_memory(values())
    assert image_of(scan) is scan["image"]


def test_compressed_differently_is_another_file_with_the_same_scan(tmp_path: Path) -> None:
    """The hash is the file's: it decides only whether something is done again."""
    save(tmp_path / "x.nii")
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()))
    one, other = checks(tmp_path).hashes([subject(tmp_path / "x.nii"), subject(path)], ["a", "b"])
    assert one != other


# --- several files, masks, what is measured on the way ----------------------------------------------------------------


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    beside = AFFINE.copy()
    beside[0, 3] += 5
    first = save(tmp_path / "t1.nii")
    for other, expected in (
        (save(tmp_path / "small.nii", values(8, 9, 9)), "but has 8 x 9 x 9 voxels, its image 8 x 9 x 10"),
        (save(tmp_path / "beside.nii", values() + 1, beside), r"but lies up to 5\.0 mm beside its image"),
    ):
        both = tio.Subject(image=tio.ScalarImage([first, other]), subject_id="p")
        with pytest.raises(InputError, match=rf"p: the image .*{other.name} is a channel beside t1\.nii, {expected}"):
            checks(tmp_path).hashes([both], ["p"])


def masked(image: Path, mask: Path) -> tio.Subject:
    truth = tio.LabelMap(mask, verify_path=False)
    return tio.Subject(image=tio.ScalarImage(image), ground_truth=truth, subject_id="p")


def test_masks_are_looked_at_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = save(tmp_path / "x.nii")
    good = save(tmp_path / "empty.nii", np.zeros((8, 9, 10), "u1"))
    counter = Counter(monkeypatch)
    for _ in range(2):
        checks(tmp_path).hashes([masked(image, good)], ["p"])
    assert counter.looked == ["p", "mask of p"], "an empty mask is fine (a control's), and is looked at once"
    for mask, expected in (
        (tmp_path / "gone.nii", "does not exist"),
        (truncated(tmp_path / "cut.nii.gz"), "cannot be read"),
        (save(tmp_path / "other.nii", np.zeros((4, 4, 4), "u1")), "has 4 x 4 x 4 voxels, its image 8 x 9 x 10"),
    ):
        with pytest.raises(InputError, match=rf"p: the mask .*{mask.name} {expected}"):
            checks(tmp_path).hashes([masked(image, mask)], ["p"])


def test_visitor_gets_what_is_read_and_what_it_wants(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a.nii", values() + 1), save(tmp_path / "b.nii", with_hole(np.nan)), tmp_path / "gone.nii"]
    scans, names = [subject(path) for path in paths], ["a", "b", "c"]
    seen: dict[int, ImageRead] = {}

    def visit(index: int, channel: int, read: ImageRead) -> None:
        assert channel == 0
        seen[index] = read

    looks = checks(tmp_path).look(scans, names, visit)
    assert [bool(look.problems) for look in looks] == [False, True, True]
    np.testing.assert_array_equal(seen[0].values, values() + 1)
    assert (seen[0].digest, seen[0].dtype, seen[0].problem) == (looks[0].digest, "float32", None)
    assert "NaN" in str(seen[1].problem)
    assert "does not exist" in str(seen[2].problem)

    seen.clear()
    assert checks(tmp_path).look(scans, names, visit)[:2] == looks[:2]
    assert set(seen) == {2}, "what is known and unchanged is not read; what is missing is looked for each time"
    seen.clear()
    checks(tmp_path).look(scans, names, visit, lambda index, digest: index == 0 and digest == looks[0].digest)
    assert set(seen) == {0, 2}


def test_passing_faults_are_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server that stumbles once must not have a scan refused for ever."""
    path = save(tmp_path / "x.nii.gz")
    original = Path.read_bytes

    def stale(_path: Path) -> bytes:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", stale)
    assert "Stale file handle" in checks(tmp_path).look([subject(path)], ["p"])[0].problems[0]
    monkeypatch.setattr(Path, "read_bytes", original)
    assert not checks(tmp_path).look([subject(path)], ["p"])[0].problems


def test_an_interrupt_ends_the_looking(tmp_path: Path) -> None:
    scans = [subject(save(tmp_path / f"{i}.nii", values() + i)) for i in range(30)]

    def stop(index: int, channel: int, read: ImageRead) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks(tmp_path).look(scans, [str(i) for i in range(30)], stop)


def test_grids_of_a_cohort(tmp_path: Path) -> None:
    shapes = [(8, 9, 10)] * 3 + [(8, 9, 11)]
    scans = [subject(save(tmp_path / f"{i}.nii", values(*shape) + i)) for i, shape in enumerate(shapes)]
    looks = checks(tmp_path).look(scans, list("abcd"))
    assert looks[0].grid == "8 x 9 x 10 voxels of 2 x 2 x 3 mm, LAS"
    assert grids_text(looks[:3]) is None
    assert grids_text(looks) == (
        "the scans have 2 grids: 8 x 9 x 10 voxels of 2 x 2 x 3 mm, LAS (3 scans, such as a); "
        "8 x 9 x 11 voxels of 2 x 2 x 3 mm, LAS (1 scan, such as d)"
    )
    many = grids_text([Look(str(i), "", grid=f"grid {i}") for i in range(9)])
    assert many is not None
    assert many.endswith("; and 3 more")
