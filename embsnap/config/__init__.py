"""The configuration that people write, as pydantic models. The only package that imports pydantic; no IO here."""
