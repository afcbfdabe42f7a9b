"""From prompts to scores: text states, expert paths, mid-block features, disagreement."""
