"""Relevance maps of a cohort: means of groups, and how two maps differ."""

__version__ = "0.1.0"
