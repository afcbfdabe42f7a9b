"""Known ground: what every score is worth on an ensemble whose training coverage is known, and how that is recorded."""
