"""Ensembles of diffusion experts: which they are, where their weights come from, how they are put together."""
