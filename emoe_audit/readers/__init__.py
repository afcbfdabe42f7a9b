"""Files from outside: read within bounds, as plain values, and as the types that are meant."""
