"""From rows to statements: group means with intervals, quartiles, rank correlations. Frames in, frames out."""
