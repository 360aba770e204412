"""Whether a PostgreSQL server answers at an address: what libpq's PQping says, and without stopping the process.

psycopg keeps Python's global lock during ``PGconn.ping``: while a server takes the connection and then says nothing,
every thread and every event loop of the process would stand still.
"""

from __future__ import annotations

import socket
import struct
from itertools import zip_longest

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from pliers_db.config import Target

_PROTOCOL = 196608  # 3.0
_NOT_NOW = b"57P03"  # starting, stopping or recovering


def ping(target: Target, timeout: float = 3.0) -> Ping:
    """Ask for a session, without proving who we are, and look what comes back.

    :param timeout: seconds for each host.
    :returns: ``OK`` if a server answered, ``REJECT`` if it said "not now", ``NO_RESPONSE`` if nobody did.
    """
    parameters = target.parameters()
    where = str(parameters.get("hostaddr") or parameters.get("host") or "")
    if not where:  # libpq knows where its socket is; a local answer comes at once
        return Ping(PGconn.ping(make_conninfo("", **parameters).encode()))
    hosts = where.split(",")
    ports = str(parameters.get("port") or 5432).split(",")
    answers = {
        _knock(host.strip(), int(port), str(parameters.get("user", "")), str(parameters.get("dbname", "")), timeout)
        for host, port in zip_longest(hosts, ports[: len(hosts)], fillvalue=ports[-1])
    }
    return next((answer for answer in (Ping.OK, Ping.REJECT) if answer in answers), Ping.NO_RESPONSE)


def _knock(host: str, port: int, user: str, dbname: str, timeout: float) -> Ping:
    body = struct.pack("!I", _PROTOCOL) + b"".join(
        word.encode() + b"\0" for word in ("user", user or "pliers", "database", dbname or "postgres", "")
    )
    try:
        with _open(host, port, timeout) as end, end.makefile("rb") as answers:
            end.sendall(struct.pack("!I", len(body) + 4) + body)
            head = answers.read(5)
            if len(head) < 5:
                return Ping.NO_RESPONSE
            if head[:1] != b"E":
                return Ping.OK
            text = answers.read(struct.unpack("!I", head[1:])[0] - 4)
    except OSError:
        return Ping.NO_RESPONSE
    return Ping.REJECT if b"C" + _NOT_NOW in text.split(b"\0") else Ping.OK


def _open(host: str, port: int, timeout: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout)
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(timeout)
    try:
        end.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        end.close()
        raise
    return end
