"""The work of a run on many machines: who does it, what becomes of a chunk whose worker is lost. Ray only places it."""
