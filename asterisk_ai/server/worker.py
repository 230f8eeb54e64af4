"""Where one of several worker processes stands: which ports are its own, which calls."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from asterisk_ai.config import Config, HttpConfig
from asterisk_ai.config.schema import WORKER_PORTS_EACH


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Worker ``index`` of ``workers``. Its ports follow from the configuration: restarted, it has them again.

    All share the public FastAGI port, where ``call/start`` is asked for; each has an AudioSocket port, a
    FastAGI port for what follows, and an HTTP port on loopback for the supervisor.
    """

    index: int = 0
    workers: int = 1

    def config(self, config: Config) -> Config:
        """The configuration with this worker's listeners."""
        if self.workers == 1:
            return config
        port = self._base(config)
        host = config.audiosocket.advertise.rpartition(":")[0]
        audiosocket = dataclasses.replace(config.audiosocket, port=port, advertise=f"{host}:{port}" if host else "")
        return dataclasses.replace(
            config, audiosocket=audiosocket, http=HttpConfig(host="127.0.0.1", port=self.http_port(config))
        )

    def fastagi_port(self, config: Config) -> int:
        """Where the dialplan asks about this worker's calls."""
        return self._base(config) + 1

    def http_port(self, config: Config) -> int:
        """Where the supervisor asks how this worker is."""
        return self._base(config) + 2

    def _base(self, config: Config) -> int:
        return config.server.worker_ports + WORKER_PORTS_EACH * self.index


def port_in_use_error(key: str, address: tuple[str, int], error: OSError) -> OSError:
    """The error of a listener that could not be started, with the key that changes its port."""
    return OSError(
        error.errno,
        f"{key}: cannot listen on {address[0]}:{address[1]}: {error.strerror or error} "
        f"(is another server running? {key if key == WORKER_PORTS else f'{key}.port'} chooses another port)",
    )


WORKER_PORTS = "server.worker_ports"
ALONE = WorkerPlace()
"""A server that is one process."""
