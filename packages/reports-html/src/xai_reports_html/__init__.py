"""A self-contained page on a finished run: the report ``html``."""

__version__ = "0.1.0"
