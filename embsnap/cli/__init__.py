"""The commands: one module each, which parses, calls one operation and shows its result. No work is done here."""
