"""The methods of a run as a paragraph, and what to cite; from its resolved configuration, ready to paste."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import registry

from ._analyses import atlases_of
from ._literature import papers_behind, references
from ._papers import Paper, bibtex_note, papers
from ._reading import Notes
from ._scores import if_made
from ._summary import number, score_name, who
from ._texts import listed, plain

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["Citation", "citation_of", "write_citation"]

# Readers of a paper ask for these, also where they are the defaults.
_ALWAYS = {
    "epochs",
    "batch_size",
    "learning_rate",
    "optimizer",
    "loss",
    "folds",
    "depth",
    "composite",
    "layer",
    "atlas",
}
_HEADLINE = ("balanced_accuracy", "auc", "mae", "r")


@dataclass(frozen=True)
class Citation:
    """What to paste into a manuscript.

    Attributes:
        paragraph: The methods in words.
        papers: Publications behind components and libraries.
        others: Citations that are known as a sentence only (atlases), by BibTeX key.
        versions: Of the software, by name.
    """

    paragraph: str
    papers: Sequence[Paper]
    others: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def references(self) -> list[str]:
        """All of them as texts."""
        return [*(paper.text for paper in self.papers), *self.others.values()]

    @property
    def bibtex(self) -> str:
        """All of them as BibTeX entries."""
        return "\n".join([*(p.bibtex() for p in self.papers), *(bibtex_note(k, t) for k, t in self.others.items())])

    @property
    def text(self) -> str:
        """Paragraph and numbered references."""
        lines = [f"{number}. {text}" for number, text in enumerate(self.references, start=1)]
        return "\n".join([self.paragraph, "", plain("cite.references"), *lines, ""])

    def as_json(self) -> dict[str, Any]:
        """``paragraph``, ``references`` (CSL-JSON, which reference managers read) and ``software``."""
        notes = [{"id": key, "type": "article", "note": text} for key, text in self.others.items()]
        items = [*(paper.csl() for paper in self.papers), *notes]
        return {"paragraph": self.paragraph, "references": items, "software": dict(self.versions)}


def citation_of(run: RunResults, notes: Notes | None = None) -> Citation:
    """Return the methods paragraph and the publications of a run.

    Raises:
        InputError: The run has no ``run.json`` yet.
    """
    config, info = run.config, run.info
    metrics = if_made(run.metrics) or {}
    test = metrics.get("test", {})
    versions = {str(name): str(version) for name, version in (info.get("versions") or {}).items()}
    found = references(config, versions)
    if isinstance(test.get("auc_delong"), Mapping):
        found.append(papers()["DeLong 1988"])
    if any((score or {}).get("low") is not None for score in (metrics.get("across_folds") or {}).values()):
        found.append(papers()["Nadeau 2003"])
    atlases = atlases_of(run, notes or Notes())
    others = {f"atlas{_key(a['name'])}": f"{a['name']}: {a['citation']}" for a in atlases if "citation" in a}
    return Citation(_paragraph(run, config, info, test, atlases), list(dict.fromkeys(found)), others, versions)


def write_citation(citation: Citation, output: Path) -> None:
    """Write ``methods.txt``, ``references.bib`` and ``references.json`` beside the page."""
    (output / "methods.txt").write_text(citation.text, encoding="utf-8", newline="\n")
    (output / "references.bib").write_text(citation.bibtex, encoding="utf-8", newline="\n")
    text = json.dumps(citation.as_json()["references"], indent=2, ensure_ascii=False) + "\n"
    (output / "references.json").write_text(text, encoding="utf-8", newline="\n")


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _paragraph(
    run: RunResults, config: Mapping[str, Any], info: Mapping[str, Any], test: Mapping[str, Any],
    atlases: Sequence[Mapping[str, str]],
) -> str:  # fmt: skip
    opening, *rest = who(run)
    data = config.get("data") or {}
    sentences = [opening]
    if str(data.get("name", "")).rpartition(":")[2] == "simulated-atrophy":
        sentences.append(plain("cite.simulated"))
    sentences += [*rest, plain("cite.unseen")]
    steps = data.get("transforms") or []
    random = [slot for slot in steps if str(slot.get("name", "")).rpartition(":")[2].startswith("random-")]
    fixed = [slot for slot in steps if slot not in random]
    sentences += [plain("cite.preprocessed", steps=_slots("transform", fixed))] if fixed else []
    sentences += [plain("cite.augmented", steps=_slots("transform", random))] if random else []
    sentences.append(plain("cite.trained", model=_slot("model", config.get("model") or {}),
                           trainer=_slot("trainer", config.get("training") or {})))  # fmt: skip
    for kind, key in (("explainer", "explainers"), ("evaluator", "evaluators"), ("analysis", "analyses")):
        slots = config.get(key) or []
        sentences += [plain(f"cite.{key}", steps=_slots(kind, slots))] if slots else []
    sentences += [plain("cite.atlas", atlases=listed([atlas["name"] for atlas in atlases]))] if atlases else []
    sentences += _results(test)
    return " ".join([*sentences, _software(info)])


def _slots(kind: str, slots: Sequence[Mapping[str, Any]]) -> str:
    return listed([_slot(kind, slot) for slot in slots])


def _slot(kind: str, slot: Mapping[str, Any]) -> str:
    """Name, what differs from the defaults, and who is to be cited: ``lrp (composite epsilon-plus; Bach 2015)``."""
    name = str(slot.get("name", "?"))
    defaults = _defaults(kind, name)
    params = [
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in (slot.get("params") or {}).items()
        if value is not None
        and (key in _ALWAYS or key not in defaults or defaults[key] != value)
        and not _is_path(value)
    ]
    parts = [", ".join(params), "; ".join(papers_behind(slot))]
    inside = "; ".join(part for part in parts if part)
    return f"{name} ({inside})" if inside else name


def _defaults(kind: str, name: str) -> dict[str, Any]:
    try:
        properties = registry.schema(kind, name)["properties"]
    except Exception:  # the plugin may no longer be installed where the report is written anew
        return {}
    return {key: about["default"] for key, about in properties.items() if "default" in about}


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False).strip('"')


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)


def _results(test: Mapping[str, Any]) -> list[str]:
    told = []
    for key in _HEADLINE:
        score = test.get(key)
        if isinstance(score, Mapping) and score.get("value") is not None:
            text = f"{score_name(key)} {number(score['value'])}"
            if score.get("low") is not None and score.get("high") is not None:
                text += plain("cite.interval", low=number(score["low"]), high=number(score["high"]))
            told.append(text)
    people = plain("count.people_many", n=test["people"]) if "people" in test else plain("cite.test_people")
    return [plain("cite.results", people=people, scores=listed(told))] if told else []


def _software(info: Mapping[str, Any]) -> str:
    versions = [f"{name} {version}" for name, version in (info.get("versions") or {}).items()]
    packages = sorted({str(text) for text in (info.get("components") or {}).values()})
    told = listed([*versions, *packages]) if versions or packages else "?"
    return plain("cite.software", versions=told, seed=info.get("seed", "?"))
