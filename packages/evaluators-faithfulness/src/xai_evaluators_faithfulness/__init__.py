"""How good an explanation is: evaluators that score relevance maps."""

__version__ = "0.1.0"
