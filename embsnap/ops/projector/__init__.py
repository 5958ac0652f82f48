"""A sample of tables for TensorBoard's Embedding Projector."""
