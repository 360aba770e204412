"""Why a server's certificate is not accepted. libpq says only "certificate verify failed"."""

from __future__ import annotations

import socket
import ssl
import struct

from pliers_db.config import Target

# PostgreSQL's protocol, "SSLRequest": length 8, request code 80877103; the server answers S or N.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def certificate_problem(target: Target, *, timeout: float = 3.0) -> str:
    """Ask the server for its certificate and check it as libpq would, for the reason alone.

    :param timeout: seconds for the whole look.
    :returns: OpenSSL's reason (``certificate has expired``), or an empty text where none is to be had.
    """
    host = (target.host or "").split(",")[0]
    port = int((target.port or "5432").split(",")[0] or 5432)
    if not host or host.startswith("/"):
        return ""
    try:
        context = ssl.create_default_context(cafile=None if target.sslrootcert == "system" else target.sslrootcert)
        context.check_hostname = target.sslmode == "verify-full"
        with socket.create_connection((host, port), timeout=timeout) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return ""
            with context.wrap_socket(plain, server_hostname=host):
                return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return ""
