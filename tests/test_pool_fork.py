"""A forked child (gunicorn's preload, multiprocessing) does not speak on its parent's connections."""

from __future__ import annotations

import os
import warnings

from pliers_db.config import Target
from pliers_db.db import Database


def test_parent_and_child_use_connections_of_their_own(target: Target) -> None:
    with Database(target) as database:
        with database.connection(autocommit=True) as conn:
            before = conn.info.backend_pid
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
            child = os.fork()
        if child == 0:
            try:
                with database.connection(autocommit=True) as conn:
                    os.write(writing, str(conn.info.backend_pid).encode())
                    assert conn.execute("select 1").fetchone() == (1,)
                database.close()
                os._exit(0)
            except BaseException:  # noqa: BLE001
                os._exit(1)
        os.close(writing)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert int(os.read(reading, 100)) != before
        os.close(reading)
        for _ in range(5):
            with database.connection(autocommit=True) as conn:
                assert conn.execute("select 1").fetchone() == (1,)
