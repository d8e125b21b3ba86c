"""Supervised training on PyTorch Lightning: the trainer ``lightning``."""

__version__ = "0.1.0"
