"""An example of an explainer in a package of its own: occlusion by cubes."""

__version__ = "0.1.0"
