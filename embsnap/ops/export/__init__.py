"""Exporting tables into files that other systems read."""
