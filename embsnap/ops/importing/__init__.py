"""Importing tables from files that other systems wrote."""
