"""MONAI's 3D classification networks as components of the xai framework."""

__version__ = "0.1.0"
