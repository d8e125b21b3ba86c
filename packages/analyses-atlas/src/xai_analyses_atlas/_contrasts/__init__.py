"""Contrasts between groups, explainers and folds, with inference by permutation."""
