"""The marked Hawkes process: likelihood, prior, fit, expected size, simulation."""
