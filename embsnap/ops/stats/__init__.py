"""Statistics of tables: plan, scan, and what follows from it."""
