"""Brain features: FreeSurfer, CAT12, any table, and maps that people bring along."""

from __future__ import annotations

from .gather import Features, feature_files, gather_features, read_features, registrations

__all__ = ["Features", "feature_files", "gather_features", "read_features", "registrations"]
