"""Experiments: speech metrics, sweeps of simulated calls, peers beside them, and the report."""
