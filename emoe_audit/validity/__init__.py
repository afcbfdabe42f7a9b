"""Does a score mean what it should? Proof where the training coverage is known, and checks where it is not."""
