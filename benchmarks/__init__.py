"""Benchmarks: every figure is a ratio, its two sides taken in turn in one run."""
