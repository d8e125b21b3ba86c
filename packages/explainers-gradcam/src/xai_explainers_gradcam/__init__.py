"""Explainers of 3D networks by gradients, baselines and perturbation, on Captum."""

__version__ = "0.1.0"
