"""3D convolutional networks of published brain MRI studies, layer by layer as their authors defined them."""

__version__ = "0.1.0"
