"""One writer at a time."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probesteer.errors import InputError

HELD = (errno.EACCES, errno.EAGAIN)  # what POSIX says of a lock that another process holds


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` (a POSIX lock, which ends with its process, also over NFS).

    Raises InputError where another process holds it: a job whose Snakemake died goes on, and must not get a second writer.
    Raises InputError too where the file system cannot lock (ENOLCK and others).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                raise InputError(
                    f"{path}: this file system has no POSIX locks ({error.strerror}); keep results/ on one that has them "
                    "(a lock manager may be down, or NFS mounted with nolock)"
                ) from error
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{path}: {holder} is writing these results; wait for it, or end it, and run again") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
