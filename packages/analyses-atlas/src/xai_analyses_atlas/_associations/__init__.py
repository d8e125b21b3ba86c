"""The analysis ``region-features``: relevance by region related to features across people."""
