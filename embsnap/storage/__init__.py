"""Bytes by URI. The only package that imports the clients of object stores; it knows nothing of snapshots."""
