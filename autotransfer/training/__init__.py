"""Training of a candidate: network, inputs, freezing, training loop."""
