"""Virtual networks: loss, delay and jitter as seeded value machines."""
