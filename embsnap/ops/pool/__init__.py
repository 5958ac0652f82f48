"""Pooled lookups of real examples: what of it needs no torch."""
