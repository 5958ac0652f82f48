"""Warm start: a new model's tables from an old snapshot, each row following its entity."""
