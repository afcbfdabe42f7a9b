"""The mixture of experts that draws, whole in memory or under a budget."""
