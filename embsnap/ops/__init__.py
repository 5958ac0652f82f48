"""The operations, one verb per module: options in, a result out. No printing, no environment, no torch."""
