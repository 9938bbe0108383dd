"""What can be wrong with a model that was stored."""

from __future__ import annotations


class ModelError(ValueError):
    """A stored model, or its manifest, is absent, damaged, foreign or of another version; it says which.

    The one who reads it goes on with another version, or with the cold model.
    """
