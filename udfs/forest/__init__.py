"""Features, training, scoring and intervals of the models that correct the Hawkes process."""
