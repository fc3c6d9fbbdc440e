"""Training: from a folder of speech to a model folder. Needs the `train` extra."""
