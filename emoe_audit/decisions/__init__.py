"""What follows from a run, or is decided before one: the score that ranks, a gate, a comparison, a study's size."""
