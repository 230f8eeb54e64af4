"""The edge to code that is not ours: engines of anybody's, and the libraries that engines load.

These are the only places in providers that catch everything: a call and the server must not end because of what
somebody else's code raises, and no list of what it may raise is ever complete.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable

logger = logging.getLogger(__name__)
MAX_TEXT = 300
INSTALL_LOCAL = "pip install 'asterisk-ai[local]'"


class EngineFault(ProviderUnavailable):
    """The engine raised what it must not raise: a mistake in its own code, logged with its traceback."""


@contextlib.contextmanager
def engine_boundary(provider: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Let an engine work inside. What it may raise passes.

    :param passing: what it may raise beside ProviderError.
    :raises EngineFault: anything else.
    """
    try:
        yield
    except ProviderError:
        raise
    except passing:
        raise
    except Exception as error:
        logger.exception("%s raised what an engine must not raise", provider)
        raise EngineFault(provider, f"raised {error!r}"[:MAX_TEXT]) from error


@contextlib.contextmanager
def library_boundary(provider: str, what: str, install: str = INSTALL_LOCAL) -> Iterator[None]:
    """Let a library load a model inside; libraries raise whatever their C++ part says.

    :param what: the words before its own, e.g. "x.onnx is no voice".
    :raises ProviderRejected: it is not installed, or raised anything.
    """
    try:
        yield
    except ProviderError:
        raise
    except ImportError as error:
        raise ProviderRejected(provider, f"{error} (mend it with: {install})") from error
    except Exception as error:
        raise ProviderRejected(provider, f"{what}: {error}"[:MAX_TEXT]) from error
