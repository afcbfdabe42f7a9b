"""May a score be believed on an ensemble of which nobody knows what it was trained on? Probes, and what they say."""
