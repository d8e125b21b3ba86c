"""Normative scores: what a feature of the brain should be, and how unusual a person's relevance is."""
