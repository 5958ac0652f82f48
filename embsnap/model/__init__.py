"""Plain values that all packages share: manifests, tables, vocabularies, row maps, findings. No IO, no numpy needed."""
