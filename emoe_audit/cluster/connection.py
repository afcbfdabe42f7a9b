"""The way to a Ray cluster: to one that runs, or to one that is started on this machine. Nothing waits for long."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emoe_audit.errors import AuditError, MissingPackageError

log = logging.getLogger(__name__)
AUTO = "auto"
REACHED = 5.0
"""Seconds in which the head of a cluster has to take a connection."""
TRIES = "RAY_gcs_server_port_wait_time_s", "1"
"""Ray asks a head that is gone twenty times, five minutes long; said while it looks for one, and not where it starts
one."""
REFUSED = (ConnectionError, RuntimeError, ValueError)
"""What Ray raises, besides errors of its own, where there is no cluster or none for this process."""
STORE_BYTES = 256 << 20
"""That Ray may hold of what is sent, where it is started here."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster; where a process is connected already, it stays so.

    Raises:
        MissingPackageError: Ray is not installed.
        AuditError: there is no such cluster, or none that this version can use.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError("--ray needs Ray: pip install 'emoe-audit[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    _keep_stdout_clean()
    named = os.environ.get("RAY_ADDRESS") or AUTO if address == AUTO else address
    if named != AUTO:
        _check_reached(named)
    if not _joined(ray, named):
        _start_here(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start_here(ray: Any) -> None:
    try:
        ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET)
    except (*REFUSED, ray.exceptions.RayError) as error:
        raise AuditError(f"no Ray can be started on this machine: {str(error)[-500:]}") from error


def _joined(ray: Any, address: str) -> bool:
    """Whether there was a cluster to connect to; False for `auto` alone."""
    try:
        with _few_tries():
            ray.init(address=address, **QUIET)
    except (*REFUSED, ray.exceptions.RayError) as error:
        if address == AUTO and _is_absent(error):
            return False
        raise AuditError(f"the Ray cluster at {address!r:.100} cannot be used: {str(error)[-500:]}") from error
    return True


def _is_absent(error: Exception) -> bool:
    """Whether there is no cluster, and not one that asks for a token or is of another version."""
    said = str(error)
    return isinstance(error, ConnectionError) or ("connect to GCS" in said and "uthentication" not in said)


def is_reached(address: str) -> bool:
    """Whether something takes a connection at `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
    except (OSError, OverflowError):
        return False
    return True


def _check_reached(address: str) -> None:
    """Raise `AuditError` where nothing takes a connection, or what is given is no `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise AuditError(f"{address!r:.100} is no address of a Ray cluster: give HOST:PORT of its head, or auto")
    if not is_reached(address):
        raise AuditError(
            f"there is no Ray cluster at {address!r:.100}. Start one by `ray start --head`, or give --ray auto, which "
            "starts one on this machine where none runs"
        )


@contextmanager
def _few_tries() -> Iterator[None]:
    name, value = TRIES
    before = os.environ.get(name)
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _keep_stdout_clean() -> None:
    """What Ray has to say of machines that are lost goes to the log: it prints it among the results."""
    import ray._private.worker as within

    if hasattr(within, "print_to_stdstream"):
        within.print_to_stdstream = lambda data, *_, **__: log.info("Ray: %s", "\n".join(data.get("lines", ())))
