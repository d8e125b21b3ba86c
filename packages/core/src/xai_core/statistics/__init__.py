"""Statistics of test scores that trainers and ``xai compare`` share. NumPy only; SciPy's distributions on use."""
