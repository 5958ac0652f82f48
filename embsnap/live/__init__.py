"""Live modules on torch and torchrec, and what fills them. The only package that imports torch."""
