"""Verifying a snapshot, level by level."""
