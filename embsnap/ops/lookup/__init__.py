"""Rows of a table by entity id."""
