"""Evaluating candidates in other processes: on this machine, on others that a storage connects, or on a cluster."""
