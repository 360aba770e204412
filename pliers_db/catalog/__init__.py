"""What is in a database: snapshot, differences, content digest."""

from pliers_db.catalog.digest import TableDigest, digest, digests

__all__ = ["TableDigest", "digest", "digests"]
