"""``xai compare-maps`` as a user and a script meet it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core.cli import main

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
Run = Callable[..., tuple[int, str, str]]
Save = Callable[..., Path]


@pytest.fixture
def xai(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(["compare-maps", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(exit_info.value.code or 0), out, err

    return run


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_numbers_are_printed_and_given_as_json(xai: Run, save_map: Save) -> None:
    a = noise(1)
    b = a.copy()
    b[2, 5, 7] += 3
    first, second = save_map("a.nii.gz", a), save_map("b.nii", b)
    code, out, err = xai(first, second, "--json", "--spearman")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["largest_at"] == [2, 5, 7]
    assert found["largest_at_mm"] == [-12, -20, 12]
    assert found["largest_relative"] == pytest.approx(3 / np.abs(a).max(), rel=1e-5)
    assert found["l1_relative"] == pytest.approx(3 / np.abs(a).sum(dtype=float), rel=1e-5)
    assert found["pearson"] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert found["sum_difference"] == pytest.approx(3, rel=1e-4)
    assert 0.99 < found["spearman"] < 1
    code, out, _err = xai(first, second)
    assert "voxel (2, 5, 7), x -12, y -20, z 12 mm" in out
    assert f"{found['l1_relative']:.4g}" in out


def test_identical_maps_say_so(xai: Run, save_map: Save, tmp_path: Path) -> None:
    a = save_map("a.nii.gz", noise(1))
    _code, out, _err = xai(a, save_map("b.nii", noise(1)), "--output", tmp_path / "p.png")
    assert "The maps are identical: every value is the same." in out
    assert "one and the same file" not in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    _code, out, _err = xai(a, a)
    assert "A and B are one and the same file." in out


def test_the_tolerance_decides_the_exit_code(xai: Run, save_map: Save) -> None:
    a = np.zeros(SHAPE)
    a[0, 0, 0] = 8
    first, second = save_map("a.nii", a), save_map("b.nii", a + np.float32(0.5))
    for tolerance, code in (("0.0625", 0), ("0.0624", 1)):  # 0.5 / 8, exact in binary
        found = xai(first, second, "--tolerance", tolerance)
        assert found[0] == code
        assert ("ABOVE" in found[1]) == bool(code)
    assert json.loads(xai(first, second, "--tolerance", "0", "--json")[1])["within_tolerance"] is False
    assert xai(save_map("zero.nii", a * 0), first, "--tolerance", "1e9")[0] == 1
    for wrong in ("nan", "inf", "-1", "x"):
        assert xai(first, second, "--tolerance", wrong)[0] == 2


def test_other_grids_are_an_error_that_says_both(xai: Run, save_map: Save) -> None:
    shifted = RAS.copy()
    shifted[1, 3] += 2
    a = save_map("a.nii", noise(1))
    code, _out, err = xai(a, save_map("b.nii", noise(2), shifted))
    assert code == 2
    assert "the first at (-20, -40, -16) mm" in err
    assert "the first at (-20, -38, -16) mm" in err
    code, _out, err = xai(a, save_map("c.nii", noise(2, (11, 13, 10))))
    assert code == 2
    assert "11 x 13 x 9 voxels" in err
    assert "11 x 13 x 10 voxels" in err


def test_a_mirrored_map_differs_although_its_numbers_are_the_same(xai: Run, save_map: Save) -> None:
    """The affine is believed, not the order of the numbers in the file."""
    las = RAS @ np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    a = save_map("a.nii", noise(1))
    _code, out, _err = xai(a, save_map("b.nii", noise(1)[::-1], las))
    assert "The maps are identical" in out
    assert "flipped or swapped" in out
    _code, out, _err = xai(a, save_map("c.nii", noise(1), las), "--json")
    assert json.loads(out)["pearson"] == pytest.approx(np.corrcoef(noise(1).ravel(), noise(1)[::-1].ravel())[0, 1])


def test_resample_brings_b_to_the_grid_of_a(xai: Run, save_map: Save) -> None:
    """A ramp over the world's millimetres is the same on every grid."""

    def ramp(affine: Any, shape: tuple[int, int, int]) -> Any:
        return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)) @ [1.0, -2, 0.5]

    fine = np.diag([2.0, 2, 2, 1])
    fine[:3, 3] = [-30, -50, -30]
    a = save_map("a.nii", ramp(RAS, SHAPE))
    b = save_map("b.nii", ramp(fine, (40, 45, 40)), fine)
    assert xai(a, b)[0] == 2
    code, out, _err = xai(a, b, "--resample", "--json", "--tolerance", "1e-5")
    assert code == 0
    assert "interpolated on the grid of A" in json.loads(out)["notes"][0]


def test_nan_and_infinite_values_are_counted(xai: Run, save_map: Save) -> None:
    broken = noise(2)
    broken[0, :3, 0], broken[1, 1, 1] = np.nan, np.inf
    a, b = save_map("a.nii", noise(1)), save_map("b.nii", broken)
    code, _out, err = xai(a, b)
    assert code == 2
    assert "b.nii has 3 voxels that are NaN and 1 that are infinite" in err
    mask = np.ones(SHAPE)
    mask[:2] = 0
    code, out, _err = xai(a, b, "--mask", save_map("mask.nii", mask), "--json")
    assert code == 0
    assert json.loads(out)["voxels"] == 9 * 13 * 9
    assert json.loads(out)["pearson"] == pytest.approx(np.corrcoef(noise(1)[2:].ravel(), noise(2)[2:].ravel())[0, 1])
    code, _out, err = xai(a, b, "--mask", save_map("empty.nii", mask * 0))
    assert (code, "nothing to compare" in err) == (2, True)


def test_what_lies_outside_of_the_mask_says_nothing(xai: Run, save_map: Save, tmp_path: Path) -> None:
    a, mask = noise(1), np.zeros(SHAPE)
    mask[3:6, 2:9, 4:8] = 1
    a[mask == 0] = np.nan
    b = np.where(mask == 0, np.inf, a)
    files = save_map("a.nii", a), save_map("b.nii", b), "--mask", save_map("mask.nii", mask)
    code, out, _err = xai(*files, "--json", "--output", tmp_path / "p.png")
    found = json.loads(out)
    assert (code, found["identical"]) == (0, True)
    assert found["largest_at"] == [int(i) for i in np.unravel_index(np.nanargmax(np.abs(a)), SHAPE)]


def test_regions_of_an_atlas(xai: Run, save_map: Save, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE)
    labels[:4], labels[4:7] = 17, 53
    a, b = noise(1), noise(1)
    b[5] += 1
    (tmp_path / "labels.tsv").write_text("index\tname\n17\tleft hippocampus\n53\tright hippocampus\n")
    files = save_map("a.nii", a), save_map("b.nii", b), "--atlas", save_map("atlas.nii.gz", labels)
    code, out, _err = xai(*files, "--labels", tmp_path / "labels.tsv", "--json")
    assert code == 0
    rows = json.loads(out)["regions"]
    assert [row["name"] for row in rows] == ["right hippocampus", "(outside of the atlas)", "left hippocampus"]
    assert rows[0]["difference"] == pytest.approx(13 * 9, rel=1e-5)
    assert rows[0]["voxels"] == 3 * 13 * 9
    assert rows[2]["correlation"] == pytest.approx(1)
    _code, out, _err = xai(*files)
    assert "label 53" in out
    coarse = np.diag([8.0, 8, 8, 1])
    coarse[:3, 3] = RAS[:3, 3]
    atlas = save_map("coarse.nii", np.ones((8, 8, 8)), coarse)
    assert xai(*files[:2], "--atlas", atlas)[0] == 2
    assert xai(*files[:2], "--atlas", atlas, "--resample")[0] == 0
    code, _out, err = xai(*files[:2], "--atlas", save_map("none.nii", labels * 0))
    assert (code, "every label is 0" in err) == (2, True)
    code, _out, err = xai(*files[:2], "--labels", tmp_path / "labels.tsv")
    assert (code, "Give --atlas too" in err) == (2, True)


def test_arrays_and_archives(xai: Run, save_map: Save, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(1)[None, ..., None])
    np.savez(tmp_path / "b.npz", x0=noise(2), x1=noise(1))
    _code, out, _err = xai(tmp_path / "a.npy", f"{tmp_path / 'b.npz'}::x1")
    assert "The maps are identical" in out
    _code, out, _err = xai(tmp_path / "a.npy", tmp_path / "b.npz", "--output", tmp_path / "new" / "p.png")
    assert "x0 is the first of 2 arrays (x0, x1)" in out
    assert "only shapes are checked" in out
    assert (tmp_path / "new" / "p.png").is_file()
    _code, out, _err = xai(save_map("a.nii", noise(1)), tmp_path / "a.npy")
    assert "Only one of the files has an affine" in out
    code, _out, err = xai(tmp_path / "a.npy", f"{tmp_path / 'b.npz'}::x7")
    assert (code, "It holds: x0, x1" in err) == (2, True)
    np.save(tmp_path / "c.npy", noise(1)[1:])
    code, _out, err = xai(tmp_path / "a.npy", tmp_path / "c.npy")
    assert (code, "(11, 13, 9)" in err, "(10, 13, 9)" in err) == (2, True, True)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_files_that_cannot_be_read_are_one_message(
    xai: Run, save_map: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = save_map("good.nii.gz", noise(1))
    (tmp_path / "short.nii.gz").write_bytes(good.read_bytes()[:300])
    (tmp_path / "plain.nii.gz").write_bytes(gzip.decompress(good.read_bytes())[:100])
    (tmp_path / "text.nii").write_text("no image")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "word.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "picture.jpg").write_bytes(b"")
    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "bomb.npz", np.array([Bomb()], dtype=object))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "complex.npy", noise(1) * 1j)
    np.save(tmp_path / "empty.npy", np.zeros((0, 3, 3)))
    names = [path.name for path in sorted(tmp_path.iterdir()) if path != good]
    for name in [*names, "absent.nii.gz", "absent.npz::x", "good.nii.gz::x", "."]:
        code, out, err = xai(good, name)
        assert (code, out) == (2, ""), name
        assert name.split("::")[0] in err
        assert "defect" not in err
    assert not (tmp_path / "exploded").exists()


def test_folders_are_compared_by_name(xai: Run, save_map: Save, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_map(f"{folder}/sub-1/same.nii.gz", noise(1))
        save_map(f"{folder}/other.nii", noise(1) * (1 if folder == "a" else 1.5))
        np.savez(tmp_path / folder / "many.npz", x0=noise(3), x1=noise(4) * (1 if folder == "a" else 1.25))
    code, out, _err = xai(tmp_path / "a", tmp_path / "b", "--json")
    found = json.loads(out)
    assert code == 0
    by_name = {row["name"]: row for row in found["maps"]}
    assert list(by_name) == ["many.npz::x0", "many.npz::x1", "other.nii", "sub-1/same.nii.gz"]
    assert by_name["other.nii"]["l1_relative"] == pytest.approx(0.5)
    assert by_name["sub-1/same.nii.gz"]["identical"]
    assert found["worst"] == "other.nii"
    _code, out, _err = xai(tmp_path / "a", tmp_path / "b")
    assert out.splitlines()[-1].startswith("worst: other.nii, largest difference / largest |A| 0.5")
    assert xai(tmp_path / "a", tmp_path / "b", "--tolerance", "0.51")[0] == 0
    assert xai(tmp_path / "a", tmp_path / "b", "--tolerance", "0.3")[0] == 1
    save_map("a/lonely.nii", noise(1))
    code, out, _err = xai(tmp_path / "a", tmp_path / "b", "--tolerance", "0.51")
    assert code == 1, "a map that is missing agrees with nothing"
    assert "only in A: lonely.nii" in out
    save_map("b/lonely.nii", noise(1, (3, 3, 3)))
    code, _out, err = xai(tmp_path / "a", tmp_path / "b")
    assert (code, "1 of 5 pairs" in err, "lonely.nii" in err) == (2, True, True)


def test_folders_and_files_do_not_mix(xai: Run, save_map: Save, tmp_path: Path) -> None:
    a = save_map("a/a.nii", noise(1))
    assert xai(a, tmp_path / "a")[0] == 2
    (tmp_path / "b").mkdir()
    code, _out, err = xai(tmp_path / "a", tmp_path / "b")
    assert (code, "no map of the same relative name" in err) == (2, True)
    code, _out, err = xai(tmp_path / "a", tmp_path / "a", "--output", tmp_path / "p.png")
    assert (code, "are for two maps" in err) == (2, True)


def test_channels_are_compared_one_by_one_and_drawn_as_their_sum(xai: Run, save_map: Save, tmp_path: Path) -> None:
    a, b = noise(1, (*SHAPE, 2)), noise(1, (*SHAPE, 2))[..., ::-1]
    files = save_map("a.nii", a), save_map("b.nii", b)
    code, out, _err = xai(
        *files, "--json", "--output", tmp_path / "p.png", "--atlas", save_map("l.nii", np.ones(SHAPE))
    )
    found = json.loads(out)
    assert code == 0
    assert not found["identical"]
    assert found["pearson"] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert found["regions"][0]["correlation"] == pytest.approx(1), "the sums over channels are equal"
    code, _out, err = xai(files[0], save_map("c.nii", noise(1)))
    assert (code, "channels differ" in err) == (2, True)


def test_a_picture_that_cannot_be_written_is_an_input_error(xai: Run, save_map: Save, tmp_path: Path) -> None:
    files = save_map("a.nii", noise(1)), save_map("b.nii", noise(2))
    (tmp_path / "file").write_text("")
    assert xai(*files, "--output", tmp_path / "file" / "p.png")[0] == 2
    code, _out, err = xai(*files, "--output", tmp_path / "p.jpg")
    assert (code, "ends in .png" in err) == (2, True)


def test_the_module_of_the_command_is_light() -> None:
    code = (
        "import sys, xai_analyses_atlas.command, xai_analyses_atlas.plugin\n"
        "heavy = {'numpy', 'pandas', 'nibabel', 'matplotlib', 'scipy', 'torch', 'nilearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_maps_of_the_original_stack(xai: Run) -> None:
    """The input x gradient of the original is its gradient times its input, and is read and compared as such."""
    given = os.environ.get("XAI_REFERENCE_KERAS")
    folder = Path(given) if given else Path(__file__).parents[3] / "shared" / "reference-keras"
    model = folder / "small" / "dyrba2021_odd17x19x21"
    if not model.is_dir():
        pytest.skip(f"no reference results: {model} is absent; set XAI_REFERENCE_KERAS")
    with np.load(model / "rel_gradient.npz") as gradient, np.load(model / "inputs.npz") as inputs:
        expected = gradient["x0"].astype(np.float64) * np.squeeze(inputs["x0"])
    with np.load(model / "rel_input_t_gradient.npz") as archive:
        product = archive["x0"].astype(np.float64)
    _code, out, _err = xai(f"{model}/rel_gradient.npz::x0", f"{model}/rel_input_t_gradient.npz::x0", "--json")
    with np.load(model / "rel_gradient.npz") as archive:
        plain = archive["x0"].astype(np.float64)
    found = json.loads(out)
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    assert found["pearson"] == pytest.approx(np.corrcoef(plain.ravel(), product.ravel())[0, 1], abs=1e-9)
    assert found["sum_b"] == pytest.approx(product.sum())
