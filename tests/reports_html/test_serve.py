"""xai serve under abuse: it answers clearly and goes on. What computes is a stand-in here; see test_serve_run.py."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from xai_core import InputError
from xai_core.engine.results import RunResults
from xai_core.testing import example_run
from xai_reports_html._serving.channels import channel_words, mismatches
from xai_reports_html._serving.guard import Access, is_loopback
from xai_reports_html._serving.niftifile import check_nifti
from xai_reports_html._serving.offer import Offer
from xai_reports_html._serving.pagefiles import page_files
from xai_reports_html._serving.place import placed
from xai_reports_html._serving.scratch import scratch_folder
from xai_reports_html._serving.server import Address, Serving, prepared
from xai_reports_html._viewer import viewed
from xai_reports_html._viewer.pages import locales, page
from xai_reports_html.serve_command import command

LIMIT = 1_000_000
STAND_IN = '''
import os, time
from pathlib import Path

from xai_core.progress import Step


def compute(request, tell):
    """Does what the name of the upload says."""
    tell("predicting")
    kind = request["source"]
    if kind == "raises":
        raise ZeroDivisionError("the explainer divided by zero")
    if kind == "dies":
        os._exit(9)
    if kind == "slow":
        tell("explaining", (Step("fold", 1, 2), Step("lrp", 0, 1), Step("<b>layers</b>", 3.0, 4.0)))
        time.sleep(60)
    if kind == "odd":
        tell("explaining", (Step("x", float("nan"), float("inf")),))
        time.sleep(60)
    folder = Path(request["folder"])
    (folder / "scan_desc-lrp_relevance.nii.gz").write_bytes(b"map" * 1_000_000)
    (folder / "scan_desc-lrp_relevance.json").write_text("{}")
    (folder / f"{request['key']}-scan.bin").write_text("scan")
    (folder / "secret.txt").write_text("secret")
    files = [{"explainer": "lrp", "image": "scan_desc-lrp_relevance.nii.gz", "sidecar": "scan_desc-lrp_relevance.json"}]
    person = {"key": request["key"], "maps": [0]}
    return {"files": files, "person": person, "read": Path(request["images"][0]).stat().st_size}
'''


class Client:
    """Talks to a server as its page does."""

    def __init__(self, serving: Serving) -> None:
        self.port = int(serving.url.split(":")[2].split("/")[0])
        self.folder = serving.folder
        self.headers: dict[str, str] = {}

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            answer = link.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            link.close()

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, content, _ = self.ask(method, path, None if body is None else json.dumps(body))
        return status, json.loads(content) if content else None

    def upload(self, content: bytes, name: str = "scan.nii") -> tuple[int, Any]:
        status, answer, _ = self.ask("POST", f"/api/uploads?name={name}", content)
        return status, json.loads(answer)

    def submit(self, name: str) -> str:
        key = self.upload(nifti(), name)[1]["id"]
        status, answer = self.json("POST", "/api/jobs", {"uploads": [key]})
        assert status == 201, answer
        return str(answer["id"])

    def job(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = next(job for job in self.json("GET", "/api/jobs")[1]["jobs"] if job["id"] == key)
        return found

    def wait(self, key: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.job(key)
            if found["state"] in (states or ("done", "failed", "cancelled")):
                return found
            time.sleep(0.02)
        raise AssertionError(f"still {found}")

    def stored(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("upload-*"))


def nifti(shape: tuple[int, ...] = (5, 6, 7), kind: Any = np.int16) -> bytes:
    return nib.Nifti1Image(np.arange(np.prod(shape)).reshape(shape).astype(kind), np.eye(4)).to_bytes()


@contextlib.contextmanager
def running(serving: Serving) -> Iterator[Client]:
    thread = threading.Thread(target=serving.run)
    thread.start()
    client = Client(serving)
    try:
        deadline = time.monotonic() + 20
        while not serving.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield client
    finally:
        serving.server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """A stand-in that the worker's own interpreter can import, too."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "serve_stand_in.py").write_text(STAND_IN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import serve_stand_in  # type: ignore[import-not-found]

        yield serve_stand_in.compute


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return example_run(tmp_path_factory.mktemp("serve") / "run")


@pytest.fixture(scope="module")
def client(run: RunResults, compute: Callable[..., Any]) -> Iterator[Client]:
    with prepared(run, Address(port=0), limit=LIMIT, compute=compute) as serving, running(serving) as found:
        text = found.ask("GET", "/")[1].decode()
        session = re.search(r'name="xai-session" content="([^"]+)"', text)
        assert session
        found.headers["x-xai-session"] = session[1]
        yield found
    assert not serving.folder.exists()


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to the server, it answers afterwards, and keeps nothing."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        assert client.ask("GET", "/")[0] == 200
        client.wait(client.submit("scan.nii"), "done")
        assert client.stored() == []


def test_two_hundred_requests_at_once(client: Client) -> None:
    paths = ["/", "/data/p0-scan.bin", "/data/p1-m0.bin", "/session.json", "/niivue.umd.js", "/api/jobs", "/nothing"]
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda i: client.ask("GET", paths[i % len(paths)])[0], range(200)))
    assert {status for i, status in enumerate(found) if paths[i % len(paths)] != "/nothing"} == {200}
    assert found.count(404) == sum(paths[i % len(paths)] == "/nothing" for i in range(200))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_too_large(client: Client, chunked: bool) -> None:
    """Whether it says so or not; what arrived is removed."""
    link = socket.create_connection(("127.0.0.1", client.port), timeout=30)
    size = "Transfer-Encoding: chunked" if chunked else "Content-Length: 2000000000"
    session = client.headers["x-xai-session"]
    head = f"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nx-xai-session: {session}\r\n{size}\r\n\r\n"
    link.sendall(head.encode())
    with contextlib.suppress(OSError):
        for _ in range(LIMIT // 100_000 + 2):
            link.sendall((b"186a0\r\n" if chunked else b"") + bytes(100_000) + (b"\r\n" if chunked else b""))
    answer = ""
    while not answer.endswith("}"):
        piece = link.recv(4096).decode()
        assert piece, answer
        answer += piece
    assert answer.startswith("HTTP/1.1 413"), answer
    assert "larger than 1 MB (--max-upload)" in answer
    link.close()


def changed(at: int, piece: bytes) -> bytes:
    content = bytearray(nifti())
    content[at : at + len(piece)] = piece
    return bytes(content)


FILES: dict[str, tuple[bytes, str]] = {
    "text": (b"this is no image" * 100, "is not NIfTI"),
    "empty": (b"", "is not NIfTI"),
    "gzipped text": (gzip.compress(b"this is no image" * 100), "is not NIfTI"),
    "dicom": (bytes(128) + b"DICM" + bytes(500), "is DICOM"),
    "pair": (changed(344, b"ni1\0"), "one of a pair"),
    "cut gzip": (gzip.compress(nifti())[:-20], "cut off"),
    "cut": (nifti()[:-20], r"cut off: \d+ of \d+ bytes"),
    "wrong check sum": (gzip.compress(nifti())[:-8] + bytes(8), "damaged"),
    "series": (nifti((4, 4, 4, 9)), "4 dimensions"),
    "flat": (nifti((40, 40, 1)), "Every side"),
    "complex": (nifti((4, 4, 4), np.complex64), "complex64 voxels"),
    "announces too much": (changed(40, struct.pack("<4h", 3, 2000, 2000, 2000)), "16000 MB when it is unpacked"),
    "negative": (changed(40, struct.pack("<4h", 3, -2, 5, 5)), "header is damaged"),
    "unknown voxels": (changed(70, struct.pack("<h", 999)), "header is damaged"),
    "voxels nowhere": (changed(108, struct.pack("<f", float("nan"))), "begin at byte nan"),
    "bomb": (gzip.compress(nifti() + bytes(50_000_000), 9), "more than its header announces"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_volume_is_refused(tmp_path: Path, kind: str) -> None:
    content, told = FILES[kind]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=told):
        check_nifti(tmp_path / "x", LIMIT)


@pytest.mark.parametrize("big", [False, True])
def test_what_is_a_volume_is_taken(tmp_path: Path, big: bool) -> None:
    """Both byte orders, both versions, packed (in several pieces, too) or not."""
    data = np.arange(210, dtype=np.float32).reshape(5, 6, 7)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        make_header: Any = kind.header_class
        header = make_header(endianness=">" if big else "<")
        content = kind(data, np.eye(4), header).to_bytes()
        for packed in (content, gzip.compress(content), gzip.compress(content[:500]) + gzip.compress(content[500:])):
            (tmp_path / "x").write_bytes(packed)
            assert check_nifti(tmp_path / "x", LIMIT) == (".nii" if packed is content else ".nii.gz")


@pytest.mark.parametrize("kind", ["text", "cut gzip", "bomb"])
def test_the_page_is_told_what_is_wrong(client: Client, kind: str) -> None:
    status, answer = client.upload(*FILES[kind][:1])
    assert status == 422
    assert re.search(FILES[kind][1], answer["error"])
    assert client.stored() == []


PLACES = [
    "/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/..%5c..%5cetc%5cpasswd", "//etc/passwd",
    "/data/../subjects.tsv", "/data/..%2fsubjects.tsv.js", "/data/%2e%2e%2f%2e%2e%2fetc%2fpasswd.js",
    "/data//etc/passwd.js", "/results/../../etc/passwd", "/run.json", "/subjects.tsv",
    "/data/p0-scan.js/../../run.json", "/index.html%00.js",
]  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
def test_nothing_but_its_own_files(client: Client, path: str) -> None:
    status, content, _ = client.ask("GET", path)
    assert status == 404
    assert b"root:" not in content


def test_nothing_but_the_files_of_a_result(client: Client) -> None:
    job = client.wait(client.submit("scan.nii"), "done")
    assert job["result"]["read"] == len(nifti())
    status, content, headers = client.ask("GET", f"/results/{job['id']}/scan_desc-lrp_relevance.nii.gz")
    assert (status, content) == (200, b"map" * 1_000_000)
    assert headers["Content-Disposition"] == 'attachment; filename="scan_desc-lrp_relevance.nii.gz"'
    assert client.ask("GET", f"/data/r{job['id']}-scan.bin")[:2] == (200, b"scan")
    for path in ("secret.txt", "../lock", "..%2flock", "%2e%2e%2flock", "", "."):
        assert client.ask("GET", f"/results/{job['id']}/{path}")[0] == 404
    for name in (f"r{job['id']}-m9", f"r{job['id']}-..", "r-scan"):
        assert client.ask("GET", f"/data/{name}.bin")[0] == 404
    for name in ("p0-scan.js", f"r{job['id']}-scan.nii", "p0-scan"):
        assert client.ask("GET", f"/data/{name}")[0] == 404
    assert client.json("DELETE", f"/api/jobs/{job['id']}")[0] == 204
    assert client.ask("GET", f"/results/{job['id']}/scan_desc-lrp_relevance.nii.gz")[0] == 404
    assert not list(client.folder.glob(f"job-{job['id']}"))


def test_connections_that_end_in_the_middle(client: Client) -> None:
    session = client.headers["x-xai-session"]
    for _ in range(5):
        link = socket.create_connection(("127.0.0.1", client.port))
        head = f"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nx-xai-session: {session}\r\n"
        link.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode() + nifti())
        link.close()
    key = client.wait(client.submit("scan.nii"), "done")["id"]
    for path in (f"/results/{key}/scan_desc-lrp_relevance.nii.gz", "/niivue.umd.js"):
        link = socket.create_connection(("127.0.0.1", client.port))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends without a goodbye
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        link.recv(100)
        link.close()
    deadline = time.monotonic() + 10
    while client.stored() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.stored() == []


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "10.0.0.1", "", "["]
)
def test_another_name_is_not_answered(client: Client, host: str) -> None:
    status, content, _ = client.ask("GET", "/data/p0-scan.bin", headers={"Host": host})
    assert status in (400, 403)
    assert b"XAI" not in content


def test_names_of_a_server_beyond_loopback() -> None:
    access = Access("brain.example", "secret")
    for host in ("brain.example:8643", "192.168.1.4:8643", "[fe80::1]:80", socket.gethostname()):
        assert access.knows_host(host)
    assert not access.knows_host("evil.example")
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-xai-session": ""}, {"x-xai-session": "wröng".encode().decode("latin-1")}, {"Origin": "http://evil.example"},
        {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_what_another_site_sends_is_refused(client: Client, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/uploads"), ("POST", "/api/jobs"), ("DELETE", "/api/jobs/x")):
        status, _, answered = client.ask(method, path, nifti(), headers)
        assert status == 403
        assert "Access-Control-Allow-Origin" not in answered
    assert client.stored() == []


def test_another_site_may_link_here_but_not_read(client: Client) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.ask("GET", "/", headers=foreign)[0] == 200
    for dest in ("script", "iframe", "empty"):
        assert client.ask("GET", "/data/p0-scan.bin", headers={**foreign, "Sec-Fetch-Dest": dest})[0] == 403


def test_every_answer_has_the_headers_of_the_viewer(client: Client) -> None:
    for path in ("/", "/nothing", "/api/jobs", "/data/p0-scan.bin"):
        headers = client.ask("GET", path)[2]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers


def test_one_after_the_other_and_cancelled(client: Client) -> None:
    slow, other, last = (client.submit(name) for name in ("slow", "scan.nii", "scan.nii"))
    client.wait(slow, "running")
    assert client.job(other)["ahead"] == 1
    assert client.job(last)["ahead"] == 2
    assert len(client.stored()) == 3
    assert client.ask("GET", "/data/p2-m0.bin")[0] == 200  # meanwhile
    assert client.json("DELETE", f"/api/jobs/{other}")[0] == 204
    assert client.job(last)["ahead"] == 1
    assert client.json("DELETE", f"/api/jobs/{slow}")[0] == 204
    assert client.job(slow)["state"] == "cancelled"
    assert client.wait(last, "done")["result"]["read"] == len(nifti())
    assert client.json("DELETE", f"/api/jobs/{other}")[0] == 404


@pytest.mark.parametrize(
    ("name", "told"),
    [("raises", "ZeroDivisionError: the explainer divided by zero"), ("dies", "exit code 9")],
)  # fmt: skip
def test_an_explainer_that_fails(client: Client, name: str, told: str) -> None:
    job = client.wait(client.submit(name))
    assert job["state"] == "failed"
    assert told in job["error"]
    assert not list(client.folder.glob(f"job-{job['id']}"))


def test_how_far_an_explanation_is(client: Client) -> None:
    for name, far, expected in (
        ("slow", [("fold", 1, 2), ("lrp", 0, 1), ("<b>layers</b>", 3, 4)], 0.875),
        ("odd", [("x", None, None)], 0),
    ):
        key = client.submit(name)
        deadline = time.monotonic() + 20
        while not client.job(key)["far"] and time.monotonic() < deadline:
            time.sleep(0.02)
        job = client.job(key)
        assert job["far"] == [{"what": what, "done": done, "total": total} for what, done, total in far]
        assert (job["step"], job["share"]) == ("explaining", expected)
        client.ask("DELETE", f"/api/jobs/{key}")


def test_the_queue_has_an_end(client: Client) -> None:
    slow = client.submit("slow")
    client.wait(slow, "running")
    body = {"person": "sub-01"}
    waiting = [client.json("POST", "/api/jobs", body) for _ in range(21)]
    assert [status for status, _ in waiting] == [201] * 20 + [429]
    assert "20 computations wait already" in waiting[-1][1]["error"]
    for key in (slow, *(answer["id"] for _, answer in waiting[:-1])):
        client.json("DELETE", f"/api/jobs/{key}")


def test_uploads_that_nobody_explains_have_an_end(client: Client) -> None:
    found = [client.upload(nifti()) for _ in range(17)]
    assert [status for status, _ in found] == [201] * 16 + [429]
    keys = [answer["id"] for _, answer in found[:-1]]
    for key in keys:
        client.wait(client.json("POST", "/api/jobs", {"uploads": [key]})[1]["id"], "done")
    assert client.json("POST", "/api/jobs", {"uploads": keys[:1]}) == (
        422, {"error": "The file is not on the server any more. Choose it again."},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "must be a JSON object"), ({}, "Give 1 file"), ({"person": "sub-99"}, "no such person"),
        ({"person": ["sub-01"]}, "no such person"), ({"person": "sub-01", "uploads": ["x"]}, "not both"),
        ({"uploads": "x"}, "must be a list"), ({"person": "sub-01", "fold": 7}, "Trained: 0"),
        ({"person": "sub-01", "fold": True}, "no such fold"), ({"person": "sub-01", "fold": "all"}, "no such fold"),
        ({"person": "sub-01", "explainers": ["lrp", "x"]}, "The run has: lrp"),
        ({"person": "sub-01", "target": "XX"}, "The run has: CN, AD"),
        ({"person": "sub-01", "allow": "yes"}, "'allow'"),
        ({"person": "sub-01", "covariates": {"age": 4}}, "reads no covariate 'age'"),
        ({"person": "sub-01", "covariates": {"age": {}}}, "object of numbers"), ({"person": "sub-01", "x": 1}, "'x'"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(run: RunResults, body: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Offer(run).read(body)


def test_requests_that_are_no_requests(client: Client) -> None:
    assert client.ask("POST", "/api/jobs", b"{")[0] == 422
    assert client.ask("POST", "/api/jobs", b"[" * 50_000)[0] == 422
    assert client.ask("POST", "/api/jobs", b" " * 70_000)[0] == 413
    assert client.ask("PUT", "/api/jobs", b"{}")[0] == 405
    link = socket.create_connection(("127.0.0.1", client.port), timeout=10)
    link.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert link.recv(100).startswith(b"HTTP/1.1 400")
    link.close()


def test_a_token_is_asked_for(run: RunResults, compute: Callable[..., Any]) -> None:
    with (
        prepared(run, Address(port=0, token=True), limit=LIMIT, compute=compute) as serving,
        running(serving) as client,
    ):
        token = serving.url.partition("?token=")[2]
        assert len(token) > 40
        for path in ("/", "/data/p0-scan.bin", "/?token=", "/?token=wrong", "/?token=w%C3%B6", f"/?tok={token}"):
            assert client.ask("GET", path)[0] == 403
        status, content, headers = client.ask("GET", f"/?token={token}")
        assert (status, headers["Location"], content) == (303, "/", b"")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        pair = cookie.partition(";")[0]
        assert client.ask("GET", "/", headers={"Cookie": pair})[0] == 200
        assert client.ask("GET", "/", headers={"Cookie": pair + "x"})[0] == 403
        assert client.ask("POST", f"/api/jobs?token={token}", b"{}")[0] == 403


def test_beyond_loopback_there_is_always_a_token(run: RunResults, compute: Callable[..., Any]) -> None:
    with prepared(run, Address("0.0.0.0", 0), limit=LIMIT, compute=compute) as serving:
        assert "?token=" in serving.url
    with prepared(run, Address(port=0), limit=LIMIT, compute=compute) as serving:
        assert serving.url.startswith("http://127.0.0.1:")
        assert "token" not in serving.url
        port = int(serving.url.split(":")[2].strip("/"))
        with pytest.raises(InputError, match=f"port {port} cannot be used"), prepared(run, Address(port=port), limit=1):
            pass


def test_what_a_killed_server_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "xai-serve-dead").mkdir()
    (tmp_path / "xai-serve-dead" / "lock").touch()
    (tmp_path / "xai-serve-young").mkdir()  # about to be locked
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "xai-serve-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder() as first:
        assert first.stat().st_mode & 0o777 == 0o700
        with scratch_folder() as second:
            assert first != second
            left = {path.name for path in tmp_path.iterdir()}
            assert left == {first.name, second.name, "xai-serve-young", "xai-serve-link", "elsewhere"}
    assert not first.exists()
    assert not second.exists()


def test_a_run_that_cannot_be_served(tmp_path: Path) -> None:
    results = example_run(tmp_path / "run")
    (results.folder / "fold-0" / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match="has no trained fold"):
        Offer(results)
    found = CliRunner().invoke(command, [str(tmp_path / "run")])
    assert isinstance(found.exception, InputError)
    (results.folder / "ensemble.json").write_text("{}")
    with pytest.raises(InputError, match="is an ensemble of runs"):
        Offer(results)


def test_what_is_offered(run: RunResults) -> None:
    offer = Offer(run).as_json()
    assert (offer["explainers"], offer["folds"], offer["classes"], offer["channels"]) == (
        ["lrp"],
        [0],
        ["CN", "AD"],
        [""],
    )
    assert [person["id"] for person in offer["people"]] == ["sub-01", "sub-02", "sub-b3b", "sub-04"]
    assert offer["people"][0] == {"id": "sub-01", "subject": "01", "target": "CN", "covariates": {}, "folds": [0]}


def test_a_file_for_each_channel(tmp_path: Path) -> None:
    results = example_run(tmp_path / "run")
    info = json.loads((results.folder / "run.json").read_text())
    (results.folder / "run.json").write_text(json.dumps({**info, "channels": ["t1", "flair"]}))
    table = results.subjects()
    table["image_t1"], table["image_flair"] = table["image"], "other.nii"
    table.loc[1, "image_flair"] = None
    table.to_csv(results.folder / "subjects.tsv", sep="\t", index=False, na_rep="n/a")
    offer = Offer(results)
    assert [person["id"] for person in offer.people] == ["sub-01", "sub-b3b", "sub-04"]
    assert offer.images_of("sub-01") == [table["image"][0], "other.nii"]
    with pytest.raises(InputError, match="Give 2 files: t1, flair"):
        offer.read({"uploads": ["x"]})
    assert offer.read({"uploads": ["x", "y"]}).uploads == ["x", "y"]


def test_the_words_that_tell_a_channel() -> None:
    """The channel's name, and what its files have in common and those of other channels have not."""
    rows = [
        {"image_gm": f"/s/gm/mwp1sub-{i}_T1w.nii", "image_wm": f"/s/gm/mwp2sub-{i}_T1w.nii.gz", "image_x": None}
        for i in (10, 11)
    ]
    words = channel_words(["gm", "wm", "x"], rows)
    assert words == [["gm", "mwp1sub"], ["mwp2sub", "wm"], ["x"]]
    names = ["gm", "wm", "x"]
    assert mismatches(names, words, ["mwp1sub-99.nii", "MWP2SUB-99.nii", "anything.nii"]) == []
    told = mismatches(names, words, ["my_wm.nii.gz", "my_gm.nii.gz", "x.nii"])
    assert [text.split(" was")[0] for text in told] == ["my_wm.nii.gz", "my_gm.nii.gz"]
    assert "given as the channel gm, but its name says wm" in told[0]
    assert channel_words(["a", "b"], []) == [["a"], ["b"]]


def test_numbers_tell_no_channel_and_names_of_several_words_do() -> None:
    rows = [{"image_t1": "/a/001.nii", "image_pet": f"/a/s{n}_acq-60_pet.nii"} for n in range(2)]
    assert channel_words(["t1", "pet"], rows) == [["t1"], ["acq", "pet"]]
    names = ["gray_matter", "white_matter"]
    words = channel_words(names, [])
    assert words == [["gray"], ["white"]]
    assert len(mismatches(names, words, ["s_white_matter.nii", "s_gray_matter.nii"])) == 2


def test_a_run_without_maps_can_be_served(tmp_path: Path, compute: Callable[..., Any]) -> None:
    results = example_run(tmp_path / "run")
    for path in (results.folder / "derivatives").rglob("*_relevance.json"):
        path.unlink()
    with prepared(results, Address(port=0), limit=LIMIT, compute=compute) as serving, running(serving) as client:
        assert b'"people": []' in client.ask("GET", "/manifest.js")[1]
        assert client.ask("GET", "/data/p0-scan.bin")[0] == 404


def test_regions_are_named_where_it_is_known_to_be_right(tmp_path: Path) -> None:
    def image(code: int, corner: float) -> str:
        made = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.diag([2.0, 2, 2, 1]))
        made.affine[0, 3] = corner
        made.set_sform(made.affine, code)
        nib.save(made, tmp_path / f"{code}{corner}.nii")
        return str(tmp_path / f"{code}{corner}.nii")

    grid = {"shape": [4, 4, 4], "affine": np.diag([2.0, 2, 2, 1]).tolist()}
    known = {"space": "mni", "grid": grid, "registers": False, "own": True}
    assert placed(known, image(1, 0), {}) == ({"space": "mni"}, [])  # on the grid of the study
    assert placed(known, image(4, 5), {}) == ({"space": "mni"}, [])  # its header says so
    place, warnings = placed(known, image(1, 5), {})
    assert place == {"space": "scan", "atlas": False}
    assert "Regions are not named" in warnings[0]
    assert placed({**known, "space": "scan"}, image(4, 5), {})[0]["atlas"] is False  # of a study elsewhere
    assert placed({**known, "own": False}, image(1, 5), {}) == ({"space": "mni"}, [])
    registered = {**known, "registers": True}
    matrix = np.eye(4).tolist()
    assert placed(registered, image(1, 5), {"to_mni": matrix}) == ({"space": "mni", "to_mni": matrix}, [])
    assert placed(registered, image(1, 5), {})[0] == {"space": "scan", "atlas": False}  # the mean over folds


def test_every_text_in_every_language(run: RunResults) -> None:
    folder = Path(locales.__code__.co_filename).parents[1] / "serving"
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "locales").glob("*.json")}
    assert set(found) == {"en", "de"}
    assert set(found["en"]) == set(found["de"])
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("panel.html", "form.js", "serve.js"))
    built = {f"serve_step_{step}" for step in ("starting", "loading", "predicting", "explaining", "drawing")}
    for key in set(found["en"]) - built - {"serve_code_seen"}:
        assert f'"{key}"' in source, f"{key} is not used"
    known = locales()["en"].keys() | found["en"].keys()
    for key in re.findall(r'(?:text\("|data-text="|data-label=")(\w+)"(?! \+)', source):
        assert key in known, key
    pages = page_files(viewed(run), "secret")
    assert b'content="secret"' in pages["index.html"]
    assert b"serve_title" in pages["locales.js"]
    assert page("main.js", viewed(run)) == pages["main.js"]


def test_light() -> None:
    """The command is listed without loading what it needs."""
    import subprocess
    import sys

    code = "import sys, xai_reports_html.serve_command as c; print({'torch', 'uvicorn', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert CliRunner().invoke(command, ["--help"]).output.startswith("Usage: serve")
