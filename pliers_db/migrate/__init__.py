"""Migrations: raw SQL files, applied and rolled back by yoyo over our pool."""
