"""Layer-wise relevance propagation for 3D networks, on Zennit."""

__version__ = "0.1.0"
