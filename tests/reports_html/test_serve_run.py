"""xai serve with networks that were really trained: what it finds is what Python finds, also seen in a browser."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import xai_core
from xai_core import Pipeline, Run
from xai_core.engine.seen import SEEN
from xai_reports_html._serving.server import Address, Serving, prepared

STUDY = """
version: 1
name: small
device: cpu
output: {folder}/results
quality: false
data:
  name: simulated-atrophy
  params: {{folder: {folder}/data, subjects: 24, resolution: 8}}
  transforms:
    - {{name: residualize, params: {{covariates: [age, sex]}}}}
    - {{name: z-normalization}}
split: {{name: stratified-kfold, params: {{folds: 2}}}}
model: {{name: resnet3d, params: {{depth: 10, width: 4, conv1_stride: 1}}}}
training: {{name: lightning, params: {{epochs: 1, batch_size: 4, bootstrap: 100, permutations: 0, loggers: []}}}}
explainers: [{{name: lrp}}, {{name: gradcam}}]
reports: []
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("serve-run")
    (folder / "pipeline.yaml").write_text(STUDY.format(folder=folder))
    return xai_core.load(Pipeline.from_file(folder / "pipeline.yaml").run().folder)


@pytest.fixture(scope="module")
def scan(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan that is in no run, with more signal on one side than on the other."""
    image = nib.load(run.subjects["image"][0])
    values = image.get_fdata(dtype=np.float32)
    values[: values.shape[0] // 2] *= 1.2
    path = tmp_path_factory.mktemp("own") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, image.affine), path)
    return path


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[Serving]:
    with prepared(run.results, Address(port=0), limit=20_000_000) as serving:
        thread = threading.Thread(target=serving.run)
        thread.start()
        deadline = time.monotonic() + 20
        while not serving.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield serving
        finally:
            serving.server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def ask(served: Serving) -> Callable[..., Any]:
    session: list[str] = []

    def send(path: str, data: Any = None) -> Any:
        body = json.dumps(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(served.url + path, body, {"x-xai-session": session[0]} if session else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers["Content-Type"] == "application/json" else content

    found = re.search(r'name="xai-session" content="([^"]+)"', send("").decode())
    assert found
    session.append(found[1])
    return send


@pytest.fixture(scope="module")
def explained(ask: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Sends a request and waits for what becomes of it."""

    def wait(source: str | Path, **wanted: Any) -> dict[str, Any]:
        if isinstance(source, Path):
            wanted["uploads"] = [ask("api/uploads?name=..%2F..%2FJ%C3%BCrgen.nii.gz", source.read_bytes())["id"]]
        else:
            wanted["person"] = source
        key = ask("api/jobs", wanted)["id"]
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            job: dict[str, Any] = next(job for job in ask("api/jobs")["jobs"] if job["id"] == key)
            if job["state"] not in ("waiting", "running"):
                return job
            time.sleep(0.1)
        raise AssertionError(job)

    return wait


def downloaded(ask: Callable[..., Any], job: dict[str, Any], name: str) -> tuple[nib.Nifti1Image, dict[str, Any]]:
    content = gzip.decompress(ask(f"results/{job['id']}/{name}.nii.gz"))
    return nib.Nifti1Image.from_bytes(content), ask(f"results/{job['id']}/{name}.json")


def test_a_file_is_explained_as_python_explains_it(
    run: Run, scan: Path, ask: Callable[..., Any], explained: Callable[..., dict[str, Any]], served: Serving
) -> None:
    given = {"age": "71", "sex": "F"}
    job = explained(scan, covariates=given, fold=1, target="AD", explainers=["lrp", "gradcam"])
    assert job["state"] == "done", job["error"]
    options = {"covariates": given}
    expected = run.explain(scan, ["lrp", "gradcam"], "AD", 1, **options)
    for name in ("lrp", "gradcam"):
        image, sidecar = downloaded(ask, job, f"scan_desc-{name}_relevance")
        np.testing.assert_array_equal(image.get_fdata(), expected[name].image.get_fdata())
        np.testing.assert_array_equal(image.affine, nib.load(scan).affine)
        assert {**sidecar, "image": "", "covariates": {}} == {
            **json.loads(json.dumps(expected[name].sidecar)), "image": "", "covariates": {},
        }  # fmt: skip
        assert (sidecar["image"], sidecar["covariates"]) == ("../../Jürgen.nii.gz", given)
    prediction = run.predict(scan, 1, **options)
    assert job["result"]["prediction"] == pytest.approx(prediction)
    assert (job["result"]["explained"], job["result"]["seen"], job["result"]["warnings"]) == ("AD", False, [])
    assert not list(served.folder.glob("upload-*"))
    # The fitted correction is applied: another age, another scan for the network.
    other = explained(scan, covariates={**given, "age": 60}, fold=1, target="AD", explainers=["lrp"])
    assert not np.array_equal(
        downloaded(ask, other, "scan_desc-lrp_relevance")[0].get_fdata(), expected["lrp"].image.get_fdata()
    )


def test_all_folds_vote(
    run: Run, scan: Path, ask: Callable[..., Any], explained: Callable[..., dict[str, Any]]
) -> None:
    given = {"age": 95, "sex": "M"}
    job = explained(scan, covariates=given, fold="all", explainers=["lrp"])
    assert job["state"] == "done", job["error"]
    expected = run.explain(scan, ["lrp"], fold="all", covariates=given)["lrp"]
    image, sidecar = downloaded(ask, job, "scan_desc-lrpMean_relevance")
    np.testing.assert_array_equal(image.get_fdata(), expected.image.get_fdata())
    assert sidecar["fold"] == "all"
    spread, _ = downloaded(ask, job, "scan_desc-lrpSd_statmap")
    np.testing.assert_array_equal(spread.get_fdata(), expected.statistics["sd"][0].get_fdata())
    assert job["result"]["prediction"]["folds"] == [0, 1]
    assert job["result"]["prediction"]["agreement"] == run.predict(scan, "all", covariates=given)["agreement"]
    assert "age 95 lies outside of the study's" in job["result"]["warnings"][0]


def test_people_whom_the_network_knows_are_refused_or_marked(
    run: Run, ask: Callable[..., Any], explained: Callable[..., dict[str, Any]]
) -> None:
    offered = ask("session.json")
    assert [one["name"] for one in offered["covariates"]] == ["age", "sex"]
    assert offered["covariates"][1]["values"] == ["F", "M"]
    person = offered["people"][0]
    [unseen] = person["folds"]
    wanted = {"covariates": person["covariates"], "explainers": ["gradcam"]}
    refused = explained(person["id"], fold=1 - unseen, **wanted)
    assert (refused["state"], refused["code"]) == ("failed", "seen")
    assert f"Take the network of fold {unseen}" in refused["error"]
    marked = explained(person["id"], fold=1 - unseen, allow=True, **wanted)
    assert marked["result"]["seen"] is True
    assert downloaded(ask, marked, f"{person['id']}_desc-gradcam_relevance")[1][SEEN] is True
    # With the network that has not seen them it is what the run itself found.
    own = explained(person["id"], fold=unseen, **wanted)
    assert own["result"]["seen"] is False
    record = next(map_ for map_ in run.results.maps("gradcam") if map_.scan_id == person["id"])
    image, sidecar = downloaded(ask, own, f"{person['id']}_desc-gradcam_relevance")
    np.testing.assert_allclose(image.get_fdata(), nib.load(record.path).get_fdata(), rtol=1e-5, atol=1e-9)
    # The file of somebody may have any name, also one like another person's.
    for name in ("scan_id", "subject_id", "session_id"):
        assert sidecar[name] == record.sidecar[name]


def test_every_map_of_an_ensemble_says_whose_it_is(
    run: Run, ask: Callable[..., Any], explained: Callable[..., dict[str, Any]]
) -> None:
    person = run.subjects.iloc[0]
    given = {"age": float(person["age"]), "sex": person["sex"]}
    job = explained(person["scan_id"], covariates=given, fold="all", allow=True, explainers=["gradcam"])
    assert job["state"] == "done", job["error"]
    assert len(job["result"]["files"]) == 4
    for file in job["result"]["files"]:
        _, sidecar = downloaded(ask, job, file["image"].removesuffix(".nii.gz"))
        assert (sidecar["scan_id"], sidecar["subject_id"]) == (person["scan_id"], person["subject_id"])
        assert (sidecar["image"], sidecar["covariates"]) == (person["image"], given)


@pytest.mark.parametrize("fault", ["no age", "wrong age", "nan", "wrong grid"])
def test_what_cannot_be_explained_is_told(
    scan: Path, tmp_path: Path, explained: Callable[..., dict[str, Any]], fault: str
) -> None:
    image, covariates = nib.load(scan), {"age": "71", "sex": "F"}
    values = image.get_fdata(dtype=np.float32)
    if fault == "no age":
        del covariates["age"]
    if fault == "wrong age":
        covariates["age"] = "old"
    if fault == "nan":
        values[3, 3, 3] = np.nan
    if fault == "wrong grid":
        values = values[:-3]
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, image.affine), path)
    job = explained(path, covariates=covariates)
    assert job["state"] == "failed"
    told = {"no age": "age", "wrong age": "'old' is no number", "nan": "NaN", "wrong grid": "grid|voxels"}[fault]
    assert re.search(told, job["error"])
    assert "Traceback" not in job["error"]


def test_in_a_browser(
    run: Run, scan: Path, served: Serving, browser: Any, tmp_path: Path, axe_faults: Callable[[Any], list[Any] | None]
) -> None:
    """Drop a file, explain it, read the value under the crosshair, download the map; then in German."""
    from playwright import sync_api as playwright

    context = browser.new_context(viewport={"width": 1300, "height": 900}, locale="en-GB", accept_downloads=True)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((served.url, "data:", "blob:")) else problems.append(r.url))
    page.goto(served.url)
    page.wait_for_selector("#serve-target option[value=c1]", state="attached")
    assert "no medical device" in page.text_content("#serve")
    drop(page, scan, "patient <b>.nii.gz")
    assert page.text_content("#serve-name-0") == "patient <b>.nii.gz"
    page.fill("#serve-value-0", "71,5")
    page.fill("#serve-value-1", "F")
    page.select_option("#serve-fold", "1")
    page.select_option("#serve-target", "c0")
    page.click("#serve-go")
    page.wait_for_selector("#serve-progress:not([hidden])")
    entry = page.locator("#serve-results li").filter(has_text="patient <b>.nii.gz")
    entry.wait_for(timeout=60_000)
    expected = run.explain(scan, ["lrp"], "CN", 1, covariates={"age": 71.5, "sex": "F"})["lrp"].image
    page.wait_for_selector("#message", state="hidden")
    assert "relevance for: CN" in page.text_content("#decision")
    values = expected.get_fdata(dtype=np.float32)
    voxel = np.unravel_index(np.abs(values).argmax(), values.shape)
    place = ",".join(str(float(part)) for part in (expected.affine @ [*voxel, 1])[:3])
    page.evaluate("mm => { const s = XAI.state.read(); s.mm = mm; location.hash = XAI.state.address(s); }", place)
    playwright.expect(page.locator("#voxel")).to_have_text(", ".join(map(str, voxel)))
    assert float(page.text_content("#value")) == pytest.approx(float(values[voxel]), rel=5e-3)
    assert page.text_content("#region") == "no atlas"
    with page.expect_download() as started:
        entry.locator("a", has_text="NIfTI lrp").click()
    started.value.save_as(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii.gz").get_fdata(), expected.get_fdata())
    page.select_option("#language", "de")
    assert page.text_content("#serve-go") == "Vorhersagen und erklären"
    assert page.input_value("#serve-fold") == "1"
    assert "Relevanz für: CN" in page.text_content("#decision")
    grave = axe_faults(page)
    if grave is not None:
        assert grave == []
    entry.locator("button", has_text="Entfernen").click()
    entry.wait_for(state="detached")
    assert page.input_value("#person") == run.results.maps()[0].scan_id
    context.close()
    assert problems == []


def drop(page: Any, path: Path, name: str) -> None:
    """Drop a file onto the page."""
    content = list(path.read_bytes())
    transfer = page.evaluate_handle(
        "([bytes, name]) => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(bytes)], name)); "
        "return t; }",
        [content, name],
    )
    page.dispatch_event("#gl", "drop", {"dataTransfer": transfer})
