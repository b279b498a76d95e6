"""Fair comparisons of architectures: the same data, the same parameters, several learning rates and seeds."""
