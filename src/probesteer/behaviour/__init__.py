"""Texts to scores, rates and effects."""
