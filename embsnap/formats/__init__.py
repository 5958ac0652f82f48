"""From bytes to values and back: torchsnapshot's format, the sidecar, parquet vocabularies. No decisions here."""
