"""Who is told of which calls, as the configuration in use has it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from asterisk_ai.config import Config, proxies
from asterisk_ai.server.after.courier import STOP_SECONDS, Courier
from asterisk_ai.server.after.webhooks import Webhook
from asterisk_ai.server.worker import WorkerPlace
from asterisk_ai.session.backends.deliveries import Delivery, delivery
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import ENDED, STARTED
from asterisk_ai.telemetry.metrics import Metrics


class AfterCalls:
    """A courier for each target. Nothing runs, and nothing is loaded, where there is none."""

    def __init__(self, config: Config, metrics: Metrics, place: WorkerPlace) -> None:
        self._config = config
        self._metrics = metrics
        self._place = place
        self._couriers: list[Courier] = []

    def wanted(self, session: CallSession) -> Sequence[Delivery]:
        """Who is to be told of a call as it is now. Called on the loop, at each turn's boundary."""
        if not self._config.webhooks:
            return ()
        events = (STARTED, ENDED) if session.ended else (STARTED,)
        return [
            delivery(session, name, event)
            for name, webhook in self._config.webhooks.items()
            if not webhook.agents or session.agent in webhook.agents
            for event in events
            if event in webhook.events
        ]

    def entered(self) -> None:
        """Something is to be delivered."""
        for courier in self._couriers:
            courier.wake()

    def start(self, after: Sequence[Courier] = ()) -> None:
        """Begin, once these have ended."""
        path, environment = self._config.store_path(), proxies()
        self._couriers = [
            Courier(path, name, Webhook(webhook, environment).send, self._metrics, self._place)
            for name, webhook in self._config.webhooks.items()
        ]
        for courier in self._couriers:
            courier.start(after)

    def change(self, config: Config) -> None:
        """Another configuration is in use."""
        if config.webhooks == self._config.webhooks:
            self._config = config
            return
        before = self._couriers
        for courier in before:
            courier.stop()
        self._config = config
        self.start(after=before)

    def stop(self) -> None:
        """Deliver what can be delivered quickly."""
        until = time.monotonic() + STOP_SECONDS
        for courier in self._couriers:
            courier.stop()
        for courier in self._couriers:
            courier.join(max(0.0, until - time.monotonic()))
