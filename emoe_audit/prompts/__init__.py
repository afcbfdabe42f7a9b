"""Prompt tables: read, checked, made."""
