"""What a search found out beside its winner, and how far its score can be trusted."""
