"""Images made for prompts, and how well they show what the prompt says."""
