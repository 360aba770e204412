"""The PG* variables of the shell, which libpq reads on its own.

Which server, database and role a command works on, and how its session behaves, comes from our settings alone.
libpq may still find credentials and trust on its own (``PGPASSFILE``, ``PGSSLCERT``, ``PGSSLKEY``…): those change
whether we get in, not where.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

CREDENTIALS = frozenset(
    {"PGPASSFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGKRBSRVNAME", "PGGSSLIB", "PGSSLSNI"}
)
"""Left to libpq: where it finds credentials. ``PGPASSWORD`` is read by `load_settings`, as the last source."""

STEERING = frozenset(
    {"PGSERVICE", "PGSERVICEFILE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGOPTIONS"}
    | {"PGSSLMODE", "PGSSLROOTCERT", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLCOMPRESSION", "PGSSLCERTMODE"}
    | {"PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGCONNECT_TIMEOUT", "PGCLIENTENCODING", "PGAPPNAME"}
    | {"PGREQUIREPEER", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGGSSENCMODE", "PGGSSDELEGATION"}
    | {"PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION"}
    | {"PGDATESTYLE", "PGTZ", "PGGEQO"}
)
"""Without effect on pliers-db: what would choose another target or change a session."""


def without_ambient(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy of an environment without the variables that steer libpq (and without ``PGPASSWORD``)."""
    return {name: value for name, value in environ.items() if name not in STEERING and name != "PGPASSWORD"}


def drop_ambient(environ: MutableMapping[str, str]) -> list[str]:
    """Take the steering variables out of a process's own environment.

    For the command line only: a connection of ours says explicitly what most of them would say, but libpq looks up
    ``PGSERVICE`` in any case, and sends ``PGTZ`` and ``PGDATESTYLE`` unasked.

    :returns: the names that were there.
    """
    found = sorted(STEERING & environ.keys())
    for name in found:
        del environ[name]
    return found
