"""Language models: the only floor that imports torch."""
