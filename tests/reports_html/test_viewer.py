"""The viewer's files: what they hold, what the server gives and refuses."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from xai_core import InputError
from xai_core.testing import example_run
from xai_reports_html._viewer import export, read_atlas, read_language, serve, viewed
from xai_reports_html._viewer.encoding import Volume, as_bytes, as_text
from xai_reports_html._viewer.manifest import Viewed
from xai_reports_html._viewer.pages import PAGES, binary, every_page, locales, page
from xai_reports_html._viewer.volumes import about_map, label_volume, map_volume, read_ras, scan_volume
from xai_reports_html.view_command import command


def unpacked(volume: Volume) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(as_text(volume))))


def assigned(body: bytes) -> Any:
    """Return what a script assigns or receives."""
    text = body.decode()
    return json.loads(text[text.index("= ", text.index(";")) + 2 : text.rindex(";")])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Axes to the left, to the back and upwards, other spacings, an oblique part."""
    affine = np.array([[-2.0, 0, 0, 30], [0, -3, 0.1, 40], [0, 0.1, 4, -20], [0, 0, 0, 1]])
    data = np.random.default_rng(0).normal(0, 1, (7, 9, 5)).astype(np.float32)
    data[data < -1.5] = 0
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "map.nii.gz")
    return tmp_path / "map.nii.gz"


def test_a_map_keeps_every_value_at_its_place(image: Path) -> None:
    content = map_volume(image)
    sent, saved = unpacked(content), nib.load(image)
    assert nib.aff2axcodes(sent.affine) == ("R", "A", "S")
    assert sent.get_data_dtype() == np.float32
    np.testing.assert_allclose(content.about["affine"], sent.affine, atol=1e-5)
    values = saved.get_fdata(dtype=np.float32)
    for index in ((0, 0, 0), (6, 8, 4), (2, 5, 1)):
        mm = saved.affine @ [*index, 1]
        there = np.rint(np.linalg.solve(sent.affine, mm)[:3]).astype(int)
        assert sent.get_fdata(dtype=np.float32)[tuple(there)] == values[index]
        # The page shows the voxel of the file itself, not of the turned copy.
        np.testing.assert_allclose((np.array(content.about["to_voxel"]) @ mm)[:3], index, atol=1e-9)


def test_the_numbers_beside_a_map(image: Path) -> None:
    data, affine, _ = read_ras(image)
    about = about_map(data, affine)
    strength = np.abs(data[data != 0])
    assert about["quantiles"][950] == pytest.approx(np.percentile(strength, 95), rel=1e-5)
    assert about["quantiles"][1000] == pytest.approx(about["largest"], rel=1e-5) == strength.max()
    expected = np.quantile(strength.astype(np.float64), np.linspace(0, 1, 1001))
    np.testing.assert_allclose(about["quantiles"], expected, rtol=1e-5)
    assert about["sum"] == pytest.approx(float(data.sum(dtype=np.float64)))
    for sign, best in (("positive", data.argmax()), ("negative", data.argmin())):
        at = np.unravel_index(int(best), data.shape)
        assert about["peaks"][sign] == {"value": data[at], "at": list(at)}
    for axis, name in enumerate("xyz"):
        found = about["slices"][name]
        assert len(found["mm"]) == data.shape[axis]
        assert sum(found["positive"]) + sum(found["negative"]) == pytest.approx(about["sum"])
        one = np.take(data, 2, axis=axis)
        assert found["positive"][2] == pytest.approx(float(one[one > 0].sum(dtype=np.float64)))
        assert found["negative"][2] == pytest.approx(float(one[one < 0].sum(dtype=np.float64)))
        middle = (np.array(data.shape) - 1) / 2
        middle[axis] = 2
        assert found["mm"][2] == pytest.approx(float((affine @ [*middle, 1])[axis]))


def test_an_empty_map_has_numbers_too() -> None:
    about = about_map(np.zeros((3, 4, 5), np.float32), np.eye(4))
    assert about["largest"] == about["sum"] == 0
    assert about["peaks"] == {"positive": None, "negative": None}
    assert set(about["quantiles"]) == {0.0}


def test_a_scan_is_sent_in_16_bits(image: Path) -> None:
    content = scan_volume(image)
    sent = unpacked(content)
    data, _, _ = read_ras(image)
    np.testing.assert_allclose(sent.get_fdata(), data, atol=(data.max() - data.min()) / 60000)
    low, high = content.about["window"]
    assert data.min() < low < high < data.max()
    constant = image.with_name("constant.nii")
    nib.save(nib.Nifti1Image(np.full((3, 3, 3), 7.0, np.float32), np.eye(4)), constant)
    np.testing.assert_allclose(unpacked(scan_volume(constant)).get_fdata(), 7)


def test_one_broken_voxel_does_not_take_the_greys_away(tmp_path: Path) -> None:
    data = np.random.default_rng(1).uniform(1, 100, (12, 12, 12)).astype(np.float32)
    data[:2] = 0
    data[5, 5, 5], data[6, 6, 6] = 1e6, -1e6
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "scan.nii")
    sent = unpacked(scan_volume(tmp_path / "scan.nii")).get_fdata()
    usual = np.abs(data) < 1e5
    np.testing.assert_allclose(sent[usual], data[usual], atol=0.05)
    assert sent[5, 5, 5] == sent.max() > 1000
    assert sent[6, 6, 6] == sent.min() < -1000


def test_labels_are_whole_numbers(image: Path, tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.int32)
    labels[1], labels[2] = 17, 400
    nib.save(nib.Nifti1Image(labels, np.diag([-1.0, 1, 1, 1])), tmp_path / "labels.nii.gz")
    content = label_volume(tmp_path / "labels.nii.gz")
    assert content.about["labels"] == content.about["named"] == [17, 400]
    assert unpacked(content).get_fdata()[0].max() == 400  # turned: the file runs to the left
    with pytest.raises(InputError, match="is no image of labels"):
        label_volume(image)


def test_regions_with_large_numbers_keep_their_names(tmp_path: Path) -> None:
    """32-bit floats make one of 16777216 and 16777217; a table of colours up to 614454277 has 2 GB."""
    labels = np.zeros((4, 4, 5), np.int32)
    labels[1], labels[2], labels[3] = 614454277, 16777217, 16777216
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    content = label_volume(tmp_path / "labels.nii.gz")
    shown = Viewed({}, {"atlas": tmp_path / "labels.nii.gz"}, {614454277: "far", 16777217: "near"})
    sent = binary("atlas", shown)
    names = json.loads(sent[8 : 8 + int.from_bytes(sent[:4], "little")])["names"]
    stored = content.stored
    assert stored.max() == 3
    assert not stored[0].any()
    assert [names[str(stored[i, 0, 0])] for i in (1, 2, 3)] == ["far", "near", "label 16777216"]


def test_a_scan_of_two_values_is_not_black(tmp_path: Path) -> None:
    scan = np.zeros((3, 4, 5), np.float32)
    scan[1] = 100
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    assert scan_volume(tmp_path / "scan.nii.gz").about["window"] == [0, 100]


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (3, 5, 7)])
def test_only_voxels_that_differ_from_the_first_are_sent(kind: type, shape: tuple[int, int, int]) -> None:
    stored = np.random.default_rng(0).integers(-2, 3, shape).astype(kind)
    sent = as_bytes(Volume(stored, np.diag([2.0, 3, 4, 1]), {}), {"about": "ü"})
    length = int.from_bytes(sent[:4], "little")
    assert json.loads(sent[8 : 8 + length]) == {"about": "ü"}
    start = 8 + -(-length // 8) * 8
    header = nib.Nifti1Image.from_bytes(sent[start : start + 352] + stored.tobytes()).header
    assert header.get_data_shape() == shape
    bits = [sent[start + 352 + voxel // 8] >> voxel % 8 & 1 for voxel in range(stored.size)]
    values = np.frombuffer(sent, kind, offset=start + 352 + -(-stored.size // 64) * 8)[: sum(bits)]
    place = iter(values)
    found = [next(place) if bit else values[0] for bit in bits]
    np.testing.assert_array_equal(np.reshape(found, shape, order="F"), stored)
    assert len(values) == 1 + int((stored != stored[0, 0, 0]).sum())


@pytest.mark.parametrize("what", ["cut", "nan", "flat"])
def test_what_cannot_be_shown_is_told(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.nii.gz"
    shape = (4, 4) if what == "flat" else (4, 4, 4)
    nib.save(nib.Nifti1Image(np.full(shape, np.nan if what == "nan" else 1.0, np.float32), np.eye(4)), path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:60])
    told = {"cut": "cannot be read", "nan": "64 voxels that are NaN", "flat": "2 dimensions"}[what]
    with pytest.raises(InputError, match=told):
        read_ras(path)


def test_the_manifest_says_who_there_is(tmp_path: Path) -> None:
    shown = viewed(example_run(tmp_path / "run"))
    people = shown.manifest["people"]
    assert [person["subject"] for person in people] == ["01", "02", "04", "<b>3</b>"]
    assert people[0]["target"] == "CN"
    assert people[0]["probabilities"]["AD"] == pytest.approx(0.2)
    assert people[0]["correct"] is True
    assert shown.files["p0-m0"].name == "sub-01_desc-lrp_relevance.nii.gz"
    # Nothing of the data can end a script or begin a tag.
    body = page("manifest.js", shown)
    assert b"<" not in body
    assert assigned(body)["people"][3]["subject"] == "<b>3</b>"
    only = viewed(example_run(tmp_path / "run"), ["sub-02", "01"])
    assert [person["id"] for person in only.manifest["people"]] == ["sub-01", "sub-02"]
    with pytest.raises(InputError, match=r"no relevance map of 'sub-05'. Did you mean 'sub-0"):
        viewed(example_run(tmp_path / "run"), ["sub-05"])


def test_a_run_that_is_still_trained_shows_what_it_has(tmp_path: Path) -> None:
    run = example_run(tmp_path / "run")
    (run.folder / "predictions.tsv").unlink()
    (run.folder / "metrics.json").unlink(missing_ok=True)
    shown = viewed(run)
    assert [person["id"] for person in shown.manifest["people"]] == ["sub-01", "sub-02", "sub-04", "sub-b3b"]
    assert all("prediction" not in person for person in shown.manifest["people"])
    for path in (run.folder / "derivatives").rglob("*_relevance.json"):
        path.unlink()
    with pytest.raises(InputError, match="no relevance maps yet"):
        viewed(run)


def test_maps_whose_scan_was_moved_are_shown_alone(tmp_path: Path) -> None:
    run = example_run(tmp_path / "run")
    image = run.maps()[1].image
    assert image is not None
    image.unlink()
    shown = viewed(run)
    assert [person["scan"] for person in shown.manifest["people"]] == [True, False, True, True]
    assert "p1-scan" not in shown.files
    export(shown, tmp_path / "viewer")


def test_maps_of_an_explainer_that_is_no_longer_configured(tmp_path: Path) -> None:
    run = example_run(tmp_path / "run")
    sidecar = run.maps()[2].path.with_suffix("").with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"explainer_id": "earlier"}))
    shown = viewed(run)
    assert shown.manifest["explainers"] == ["lrp", "earlier"]
    assert [person["maps"] for person in shown.manifest["people"]] == [[0], [0], [1], [0]]


def test_visits_and_channels(tmp_path: Path) -> None:
    run = example_run(tmp_path / "run")
    info = json.loads((run.folder / "run.json").read_text()) | {"channels": ["T1w", "FLAIR"]}
    (run.folder / "run.json").write_text(json.dumps(info))
    record = run.maps()[0]
    one: Any = nib.load(record.path)
    both = np.stack([one.get_fdata(dtype=np.float32), 2 * np.ones(one.shape, np.float32)], axis=-1)
    nib.save(nib.Nifti1Image(both, one.affine), record.path)
    shown = viewed(run)
    assert shown.manifest["channels"] == ["T1w", "FLAIR"]
    sent = unpacked(map_volume(record.path)).get_fdata(dtype=np.float32)
    expected: Any = nib.as_closest_canonical(nib.Nifti1Image(both.sum(-1), one.affine))
    np.testing.assert_allclose(sent, expected.get_fdata(dtype=np.float32), rtol=1e-6)


def test_every_language_has_every_text() -> None:
    found = locales()
    assert set(found) == {"en", "de"}
    assert set(found["de"]) == set(found["en"])
    assert all(found["de"].values())
    folder = Path(locales.__code__.co_filename).parents[1] / "viewer"
    source = "".join((folder / name).read_text(encoding="utf-8") for name in PAGES)
    for key in set(found["en"]) - {"code", "language"}:
        assert f'"{key}"' in source, f"{key} is not used"


def test_a_further_language(tmp_path: Path) -> None:
    path = tmp_path / "fr.json"
    path.write_text(json.dumps({"code": "fr", "language": "Français", "person": "Personne"}))
    assert locales(read_language(path))["fr"]["person"] == "Personne"
    path.write_text('{"person": "x"}')
    with pytest.raises(InputError, match="'code'"):
        locales(read_language(path))
    path.write_text('{"person": 1}')
    with pytest.raises(InputError, match="texts"):
        read_language(path)


def test_an_atlas_and_its_names(tmp_path: Path) -> None:
    image, table = tmp_path / "a_dseg.nii.gz", tmp_path / "a_dseg.tsv"
    with pytest.raises(InputError, match="does not exist"):
        read_atlas(image, None)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.int16), np.eye(4)), image)
    assert read_atlas(image, None) == (image, {})
    table.write_text("index\tname\n1\tNA\n17\tLeft-Hippocampus\n")
    assert read_atlas(image, None)[1] == {1: "NA", 17: "Left-Hippocampus"}
    table.write_text("label\ttext\n1\tx\n")
    with pytest.raises(InputError, match="no table of labels"):
        read_atlas(image, table)


def test_a_folder_that_opens_from_disk(tmp_path: Path) -> None:
    shown = viewed(example_run(tmp_path / "run"))
    index = export(shown, tmp_path / "out" / "viewer")
    names = {path.relative_to(index.parent).as_posix() for path in index.parent.rglob("*") if path.is_file()}
    assert names == set(every_page(shown))
    before = {path: path.read_bytes() for path in index.parent.rglob("*.js")}
    assert export(shown, tmp_path / "out" / "viewer") == index  # again, over a viewer
    assert {path: path.read_bytes() for path in index.parent.rglob("*.js")} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is not a viewer"):
        export(shown, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    run = example_run(tmp_path / "run")
    run.maps()[1].path.write_bytes(b"cut off")
    with serve(viewed(run), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def asked(port: int, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.closing(connection), connection.getresponse() as answer:
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def test_the_server_gives_its_own_files_only(port: int) -> None:
    status, body, headers = asked(port, "/")
    assert status == 200
    assert b"<!doctype html>" in body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert assigned(asked(port, "/manifest.js")[1])["served"] is True
    status, body, headers = asked(port, "/data/p0-m0.bin")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert b"n+1\0" in body
    for path in (
        "/../../etc/passwd",
        "/data/../index.html",
        "/%2e%2e/x",
        "/data/p9-m0.bin",
        "/data/p0-m0",
        "/data/",
        "/locales/en.json",
    ):
        assert asked(port, path)[0] == 404, path
    # A volume that cannot be read is told in the page, not only in the log.
    status, body, _ = asked(port, "/data/p1-m0.bin")
    assert status == 500
    assert b"cannot be read" in body


def test_the_server_answers_to_its_own_name_only(port: int) -> None:
    assert asked(port, "/", Host="evil.example:80")[0] == 403
    assert asked(port, "/", Host=f"localhost:{port}")[0] == 200


def test_the_command(tmp_path: Path) -> None:
    run = example_run(tmp_path / "run").folder
    done = CliRunner().invoke(command, [str(run), "--export", str(tmp_path / "v"), "--scan", "sub-01"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "v" / "index.html").is_file()
    assert {path.name for path in (tmp_path / "v" / "data").iterdir()} == {"p0-scan.js", "p0-m0.js"}
    for arguments in ([str(run), "--labels", "x.tsv"], [str(tmp_path)], [str(run), "--atlas", "no.nii"]):
        assert isinstance(CliRunner().invoke(command, arguments).exception, InputError)
