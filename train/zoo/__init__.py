"""The shipped weights: read them with colora.train.checkpoint, by name."""
