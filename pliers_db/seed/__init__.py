"""Filling a database with the data of its environment."""
