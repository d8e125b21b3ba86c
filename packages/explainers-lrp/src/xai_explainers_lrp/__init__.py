"""Layer-wise relevance propagation for 3D networks."""

__version__ = "0.1.0"
