"""Language models: the only room with torch."""
