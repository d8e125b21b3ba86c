"""Pages printed to PDF by a browser that is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from xai_core import InputError

__all__ = ["find_browser", "print_to_pdf"]

VARIABLE = "XAI_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge")
_PLACES = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    ),
}
# Chromium puts the time into the file; one of the same length keeps the offsets in it right.
_TIME = re.compile(rb"(/(?:CreationDate|ModDate) \(D:)(\d{14})")


def find_browser() -> str:
    """Return the browser to print with: that of the variable ``XAI_BROWSER``, or a Chromium, Chrome or Edge.

    Raises:
        InputError: There is none.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise InputError(f"{VARIABLE} is {chosen!r}, which is no program. Name a Chromium, Chrome or Edge.")
        return found
    candidates = [shutil.which(name) for name in _NAMES]
    candidates += [place for place in _PLACES.get(sys.platform, ()) if Path(place).is_file()]
    for candidate in candidates:
        if candidate is not None:
            return candidate
    raise InputError(
        f"A PDF is printed by a browser, and there is none: looked for {', '.join(_NAMES)}. Install one (Debian: apt "
        f"install chromium), name one in the variable {VARIABLE}, or open the HTML page anywhere and print it."
    )


def print_to_pdf(page: Path, output: Path, timeout: float = 300) -> None:
    """Print a page to a PDF file; the same page gives the same bytes.

    Args:
        page: An HTML file.
        output: The PDF file; replaced where it is there.
        timeout: Seconds to wait for the browser.

    Raises:
        InputError: There is no browser, it fails, or takes too long.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="xai-pdf-") as profile:
        made = Path(profile) / "page.pdf"
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer", "--disable-extensions",
            f"--user-data-dir={Path(profile) / 'profile'}", f"--print-to-pdf={made}", page.absolute().as_uri(),
        ]  # fmt: skip
        # As root Chromium refuses to start with its sandbox. The page is ours and runs no script but ours.
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(f"{browser} did not print {page} within {timeout:g} s.") from None
        except OSError as error:
            raise InputError(f"{browser} cannot be started: {error}. Name another one in {VARIABLE}.") from error
        if not made.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise InputError(f"{browser} printed no PDF of {page}: {said[-1] if said else 'it said nothing'}")
        output.write_bytes(_TIME.sub(rb"\g<1>20000101000000", made.read_bytes()))
