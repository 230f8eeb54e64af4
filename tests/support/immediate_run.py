"""The model of voice activity without a thread, which would go by another time than a test's."""

from __future__ import annotations

from asterisk_ai.vad.batch import Floats, Model


class ImmediateRun:
    """A model that is run at once, where nobody waits for anything else."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._result: tuple[Floats, Floats] | None = None
        self._error: Exception | None = None

    def __call__(self, samples: Floats, state: Floats) -> ImmediateRun:
        run = ImmediateRun(self._model)
        try:
            run._result = self._model(samples, state)
        except Exception as error:
            run._error = error
        return run

    def done(self) -> bool:
        return True

    def result(self) -> tuple[Floats, Floats]:
        if self._result is None:
            raise self._error or RuntimeError("not run")
        return self._result
