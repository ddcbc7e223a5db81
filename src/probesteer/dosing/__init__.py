"""How far to push: found by a short job before the sweep."""
