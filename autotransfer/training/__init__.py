"""Training a candidate: its network, its inputs, what is frozen, and the loop."""
