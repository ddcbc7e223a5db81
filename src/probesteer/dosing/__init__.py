"""How far to push: found by a short job before the sweep, which reads it as a file."""
