"""Publications, as a text, as BibTeX and as CSL-JSON."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["Paper", "bibtex_note", "papers"]

_CSL = {
    "article": "article-journal",
    "inproceedings": "paper-conference",
    "incollection": "chapter",
    "misc": "article",
}
_CONTAINER = {"article": "journal", "inproceedings": "booktitle", "incollection": "booktitle"}
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """One publication.

    Attributes:
        key: Short name, such as ``"Bach 2015"``.
        type: Of the BibTeX entry: article, inproceedings, incollection or misc (an arXiv preprint).
        authors: ``("Bach S", "Müller KR")``; the last is ``"et al"`` where there are more.
        title: Without a full stop.
        year: Of publication.
        container: Journal or book; None for a preprint.
        volume: As printed.
        issue: As printed.
        pages: First and last, or the article's number.
        doi: Without ``https://doi.org/``.
        arxiv: Identifier.
    """

    key: str
    type: str
    authors: tuple[str, ...]
    title: str
    year: int
    container: str | None = None
    volume: str | None = None
    issue: str | None = None
    pages: str | None = None
    doi: str | None = None
    arxiv: str | None = None

    @property
    def text(self) -> str:
        """As a list of references has it (Vancouver style)."""
        marks = "" if self.title.endswith("!") else "."
        return f"{', '.join(self.authors)}. {self.title}{marks} {self._place()}"

    def _place(self) -> str:
        arxiv = f"arXiv:{self.arxiv}" if self.arxiv else ""
        if self.container is None:
            return f"{arxiv}, {self.year}"
        inside = f"In: {self.container}" if self.type == "incollection" else self.container
        issue = f"({self.issue})" if self.issue else ""
        where = f"{inside} {self.volume}{issue}: {self.pages}, {self.year}" if self.volume else f"{inside} {self.year}"
        found = f"doi:{self.doi}" if self.doi else arxiv
        return f"{where}. {found}" if found else where

    @property
    def bibtex_key(self) -> str:
        """``bach2015``: ASCII letters and figures."""
        ascii_name = unicodedata.normalize("NFKD", self.key).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z0-9]", "", ascii_name.lower())

    def bibtex(self) -> str:
        """Return the entry."""
        fields = {
            "author": " and ".join("others" if name == "et al" else _last_first(name) for name in self.authors),
            "title": f"{{{_latex(self.title)}}}",
            "year": str(self.year),
        }
        if self.container is not None:
            fields[_CONTAINER[self.type]] = _latex(self.container)
        fields |= {name: value for name, value in (("volume", self.volume), ("number", self.issue)) if value}
        if self.pages:
            fields["pages"] = self.pages.replace("-", "--")
        if self.doi:
            fields["doi"] = self.doi
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        return _entry(self.type, self.bibtex_key, fields)

    def csl(self) -> dict[str, Any]:
        """Return the item of CSL-JSON, which reference managers read."""
        item: dict[str, Any] = {
            "id": self.bibtex_key,
            "type": _CSL[self.type],
            "title": self.title,
            "author": [_csl_name(name) for name in self.authors],
            "issued": {"date-parts": [[self.year]]},
        }
        named = {"container-title": self.container, "volume": self.volume, "issue": self.issue, "page": self.pages,
                 "DOI": self.doi, "number": self.arxiv and f"arXiv:{self.arxiv}"}  # fmt: skip
        return item | {name: value for name, value in named.items() if value}


def bibtex_note(key: str, text: str) -> str:
    """Return an entry for what is known as a sentence only, such as the citation of an atlas."""
    return _entry("misc", key, {"note": _latex(text)})


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _split(name: str) -> tuple[str, str]:
    family, _, initials = name.rpartition(" ")
    return family, " ".join(f"{letter}." for letter in initials)


def _last_first(name: str) -> str:
    return ", ".join(_split(name))


def _csl_name(name: str) -> dict[str, str]:
    if name == "et al":
        return {"literal": "others"}
    family, given = _split(name)
    return {"family": family, "given": given}


@cache
def papers() -> dict[str, Paper]:
    """Return the publications that the package knows, by short name."""
    source = tomllib.loads((files(__package__) / "literature.toml").read_text(encoding="utf-8"))
    return {
        key: Paper(key, authors=tuple(fields.pop("authors").split(", ")), **fields) for key, fields in source.items()
    }
