"""3D residual networks of depth 10, 18, 34 and 50 in MedicalNet's layout, written to be explained."""

__version__ = "0.1.0"
