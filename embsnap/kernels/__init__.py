"""Compiled loops over rows and ids. The only package that imports numba; no files and no formats here."""
