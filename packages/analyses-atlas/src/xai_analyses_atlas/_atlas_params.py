"""The parameter that chooses an atlas, the same in every analysis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from xai_core import ConfigError

__all__ = ["ATLAS", "AtlasChoice", "require_absolute"]

AtlasChoice = str | Mapping[str, str]

_ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")

# A name is a string; files are named in a mapping, whose relative paths start at the pipeline file.
ATLAS: Mapping[str, Any] = {
    "type": ["string", "object"],
    "minLength": 1,
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "minLength": 1,
            "format": "path",
            "description": "A label image, an image of probabilities (several volumes), or a pattern of files in each "
            "person's own space, such as freesurfer/{subject_id}/mri/aparc+aseg.mgz.",
        },
        "table": {
            "type": "string",
            "minLength": 1,
            "format": "path",
            "description": "Names of its labels; without it the table beside the image, and FreeSurfer's own names.",
        },
        "space": {
            "type": "string",
            "minLength": 1,
            "description": "Where it lies: mni or a template of MNI space (MNI152NLin6Asym), scan (a space that all "
            "scans share), subject (a pattern).",
        },
    },
    "description": "Name of an atlas ('xai atlases' lists them), or image, table and space of files.",
}


def require_absolute(component: str, atlas: AtlasChoice) -> None:
    """Raise where a string is a relative path: nobody could say from where.

    Raises:
        ConfigError: With how files are given.
    """
    if not isinstance(atlas, str) or PurePath(atlas).is_absolute():
        return
    if any(mark in atlas for mark in "/\\{") or atlas.lower().endswith(_ENDINGS):
        raise ConfigError(
            f"{component}: atlas: {atlas} is a relative path, not a name. Write files as a mapping, whose paths start "
            f"at the pipeline file: atlas: {{image: {atlas}}}."
        )
