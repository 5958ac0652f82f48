"""Two snapshots compared: their structure, and their rows entity by entity."""
