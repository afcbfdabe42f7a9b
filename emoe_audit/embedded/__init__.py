"""Ensembles whose training coverage is known, each a folder, and where those lie that are installed on their own."""
