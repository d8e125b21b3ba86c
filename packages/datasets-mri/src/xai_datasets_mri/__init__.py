"""Study tables, BIDS folders, a simulated cohort, preprocessing and splits for brain MRI.

Importing this package is light; torch, torchio, pandas and nilearn load when a component is used.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
