"""What an error of the server means, by its SQLSTATE (PostgreSQL documentation, appendix A)."""

from __future__ import annotations

from enum import Enum


class ErrorClass(Enum):
    """What can be done about an error."""

    RERUN = "the transaction lost a race; running it again is safe"
    LOCK = "a lock was not to be had in time"
    CONNECTION = "the connection is gone"
    NOT_NOW = "the server cannot serve right now"
    DISK = "the server is out of disk or memory, or broken"
    CANCELED = "the statement was cancelled or took too long"
    PERMANENT = "the same statement will fail the same way again"


_EXACT = {
    "40001": ErrorClass.RERUN,
    "40P01": ErrorClass.RERUN,
    "55P03": ErrorClass.LOCK,
    "57P01": ErrorClass.CONNECTION,
    "57P02": ErrorClass.CONNECTION,
    "25P03": ErrorClass.CONNECTION,
    "57P05": ErrorClass.NOT_NOW,
    "57P03": ErrorClass.NOT_NOW,
    "53300": ErrorClass.NOT_NOW,
    "53400": ErrorClass.NOT_NOW,
    "57014": ErrorClass.CANCELED,
    "53100": ErrorClass.DISK,
    "53200": ErrorClass.DISK,
}
_BY_CLASS = {"08": ErrorClass.CONNECTION, "58": ErrorClass.DISK, "XX": ErrorClass.DISK}


def classify(sqlstate: str | None) -> ErrorClass:
    """Sort an SQLSTATE into what can be done about it; None (libpq's own errors) means the connection."""
    if sqlstate is None:
        return ErrorClass.CONNECTION
    return _EXACT.get(sqlstate) or _BY_CLASS.get(sqlstate[:2], ErrorClass.PERMANENT)
