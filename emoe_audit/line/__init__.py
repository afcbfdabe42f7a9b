"""The line of this machine: who works on it, one at a time, and who is next."""
