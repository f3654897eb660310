"""The network: preprocessing, training, evaluation, inference. Knows nothing of HTTP or users."""
