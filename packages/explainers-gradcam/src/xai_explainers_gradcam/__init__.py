"""Grad-CAM, saliency, input x gradient and integrated gradients for 3D networks, on Captum."""

__version__ = "0.1.0"
