"""Where bytes come from: HTTP servers, and files (``file://``) of hosts without internet.

A source opens a URL at an offset. What goes wrong is a :class:`Setback` (worth another try) or a
:class:`SourceRefusal` (not worth one); both say in plain words why.
"""

from __future__ import annotations

import email.utils
import re
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import urllib3
from urllib3 import exceptions as problems

from asterisk_ai import __version__
from asterisk_ai.config import Proxies

_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MAX_REDIRECTS = 5


class Setback(Exception):
    """Worth another try. ``after`` is what the server asked us to wait, in seconds; None where it said nothing.

    ``unreachable`` is the host that does not answer at all, which a long row of tries will not change.
    ``anew``: what is there already is of no use.
    """

    def __init__(
        self, why: str, *, after: float | None = None, unreachable: str = "", anew: bool = False
    ) -> None:  # fmt: skip
        super().__init__(why)
        self.after, self.unreachable, self.anew = after, unreachable, anew


class SourceRefusal(Exception):
    """Not worth another try at this URL."""


class Body(Protocol):
    """Content that comes in pieces of at most ``size`` bytes. ``read`` raises Setback; b"" is the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """``body`` begins at byte ``start`` of a file of ``total`` bytes (None where the server does not say)."""

    body: Body
    start: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a host: to connect, and for the next byte."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0


class Source(Protocol):
    """What :class:`~asterisk_ai.models.transfer.Transfer` needs of the world."""

    def open(self, url: str, offset: int) -> Opened:
        """Begin to read at ``offset``, or at 0 where the server cannot do that. Raises Setback and SourceRefusal."""


class Web:
    """HTTP, HTTPS and file URLs. One for all transfers of a fetch; it may be used from several threads.

    :param tls: the trust of the operating system where None; certificates and names are always checked.
    """

    def __init__(
        self, proxies: Proxies = Proxies(), patience: Patience = Patience(), tls: ssl.SSLContext | None = None  # noqa: B008
    ) -> None:  # fmt: skip
        self._proxies = proxies
        self._timeout = urllib3.Timeout(connect=patience.connect_seconds, read=patience.read_seconds)
        self._tls = tls
        self._pools: dict[str, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        for pool in self._pools.values():
            pool.clear()

    def open(self, url: str, offset: int) -> Opened:
        if url.startswith("file://"):
            return _open_file(url, offset)
        _check(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._request(url, offset)
            if response.status not in _REDIRECTS:
                return _opened(response, url, offset)
            target = response.headers.get("Location", "")
            response.close()
            if not target:
                raise SourceRefusal(f"{_host(url)} sends us on, but not where to")
            url = _redirect(url, target)
        raise SourceRefusal(f"{_host(url)} sends us on more than {_MAX_REDIRECTS} times")

    def _request(self, url: str, offset: int) -> urllib3.BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"asterisk-ai/{__version__}"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        proxy = self._proxies.for_url(url)
        try:
            return self._pool(proxy).request(
                "GET", url, headers=headers, preload_content=False, redirect=False, retries=False, timeout=self._timeout
            )
        except (problems.HTTPError, OSError) as error:
            raise _explained(error, url, proxy) from error

    def _pool(self, proxy: str) -> urllib3.PoolManager:
        pool = self._pools.get(proxy)
        if pool is None:
            self._tls = self._tls or ssl.create_default_context()  # reads all authorities: not before it is needed
            pool = self._proxy_pool(proxy) if proxy else urllib3.PoolManager(ssl_context=self._tls, maxsize=16)
            self._pools[proxy] = pool
        return pool

    def _proxy_pool(self, proxy: str) -> urllib3.PoolManager:
        parts = urllib.parse.urlsplit(proxy)
        if parts.scheme not in ("http", "https"):
            raise SourceRefusal(
                f"the proxy {_without_password(proxy)} is not http:// or https://; others are not supported"
            )
        headers = None
        if parts.username:
            secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=secret)
        try:
            return urllib3.ProxyManager(
                proxy, proxy_headers=headers, ssl_context=self._tls, proxy_ssl_context=self._tls, maxsize=16
            )
        except problems.HTTPError as error:
            raise SourceRefusal(f"the proxy {_without_password(proxy)} is not http://host:port") from error


class _Response:
    """A response's content; what its reading raises is a Setback."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self._response, self._url = response, url

    def read(self, size: int, /) -> bytes:
        try:
            return self._response.read1(size, decode_content=False)  # what is there: a trickle must be noticed
        except problems.ReadTimeoutError as error:
            raise Setback(f"{_host(self._url)} sends nothing any more") from error
        except (problems.ProtocolError, ConnectionError) as error:
            raise Setback(f"{_host(self._url)} broke the connection off") from error
        except (problems.HTTPError, OSError) as error:
            raise Setback(f"reading from {_host(self._url)} failed: {error}") from error

    def close(self) -> None:
        self._response.close()
        self._response.release_conn()


def _opened(response: urllib3.BaseHTTPResponse, url: str, offset: int) -> Opened:
    """Make sense of the final response. Raises Setback and SourceRefusal."""
    status, headers = response.status, response.headers
    if status == 206 or (status == 200 and headers.get("Content-Encoding", "identity") == "identity"):
        start, total = _extent(response, url, offset)
        return Opened(_Response(response, url), start, total)
    response.close()
    host = _host(url)
    if status == 200:
        raise SourceRefusal(f"{host} sends {url} compressed although we asked it not to")
    if status == 416:
        raise Setback(f"{host} does not know the part of the file that we lack", after=0.0, anew=True)
    what = f"{host} answers {status} {response.reason or ''}".rstrip()
    if status in _TRANSIENT:
        raise Setback(what, after=_retry_after(headers.get("Retry-After", "")))
    if status in (404, 410):
        raise SourceRefusal(f"{what}: {url} is not there (any more)")
    if status == 407:
        raise SourceRefusal(f"{what}: the proxy wants a name and password (https_proxy=http://NAME:PASSWORD@HOST:PORT)")
    raise SourceRefusal(f"{what} for {url}")


def _extent(response: urllib3.BaseHTTPResponse, url: str, offset: int) -> tuple[int, int | None]:
    """First byte and whole length of what comes."""
    headers = response.headers
    if response.status == 200:
        length = headers.get("Content-Length", "")
        return 0, int(length) if length.isascii() and length.isdigit() else None
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset:
        response.close()
        raise SourceRefusal(f"{_host(url)} answers with another part of the file than we asked for")
    return offset, None if found[3] == "*" else int(found[3])


def _check(url: str) -> None:
    """Raises SourceRefusal for what is no URL at all."""
    try:
        _ = urllib.parse.urlsplit(url).port
    except ValueError as error:
        raise SourceRefusal(f"{url[:200]!r} is no address: {error}") from error


def _redirect(url: str, target: str) -> str:
    """Raises SourceRefusal where the way leads away from what may be trusted."""
    try:
        absolute = urllib.parse.urljoin(url, target)
    except ValueError:
        absolute = target
    _check(absolute)
    scheme = urllib.parse.urlsplit(absolute).scheme
    if scheme not in ("http", "https"):
        raise SourceRefusal(f"{_host(url)} sends us on to {absolute[:200]!r}, which is no web address")
    if url.startswith("https:") and scheme != "https":
        raise SourceRefusal(f"{_host(url)} sends us on to {_host(absolute)} without encryption")
    return absolute


def _retry_after(text: str) -> float | None:
    """Seconds, from seconds or a date. Source: RFC 9110, 10.2.3."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _explained(error: Exception, url: str, proxy: str) -> Setback | SourceRefusal:
    """What an administrator can do something with."""
    host = _host(url)
    via = f" through the proxy {_without_password(proxy)}" if proxy else ""
    cause: BaseException = error
    if isinstance(error, problems.ProxyError) and error.original_error is not None:
        cause = error.original_error
        host, via = f"the proxy {_host(proxy)}", ""
    matches: tuple[tuple[tuple[type[BaseException], ...], Callable[[], Setback | SourceRefusal]], ...] = (
        (
            (problems.NameResolutionError,),
            lambda: Setback(f"the name {host} cannot be resolved: no network, or no DNS{via}", unreachable=host),
        ),
        (
            (problems.NewConnectionError, ConnectionRefusedError),
            lambda: Setback(f"{host} cannot be reached{via}: {_reason(cause)}", unreachable=host),
        ),
        ((problems.ConnectTimeoutError,), lambda: Setback(f"{host} does not answer{via}", unreachable=host)),
        ((problems.SSLError, ssl.SSLError), lambda: _tls_problem(cause, host)),
        ((problems.ReadTimeoutError,), lambda: Setback(f"{host} takes the request but does not answer{via}")),
        (
            (problems.LocationValueError, problems.ProxySchemeUnknown),
            lambda: SourceRefusal(f"cannot use {url}: {cause}"),
        ),
        ((problems.ProtocolError, OSError), lambda: Setback(f"{host} broke the connection off{via}: {_reason(cause)}")),
    )
    for kinds, explain in matches:
        if isinstance(cause, kinds):
            return explain()
    return Setback(f"{host}{via}: {_reason(cause)}")


def _tls_problem(cause: BaseException, host: str) -> Setback | SourceRefusal:
    text = str(cause)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
        found = re.search(r"certificate verify failed: ([^(\]]+)", text)
        why = f": {found[1].strip()}" if found else ""
        cure = "a certificate authority of your own is named with SSL_CERT_FILE"
        return SourceRefusal(f"the certificate of {host} is not to be trusted{why} ({cure})")
    return Setback(f"no encrypted connection to {host}: {_reason(cause)}")


def _reason(error: BaseException) -> str:
    """The system's words out of a library's wrapping."""
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return found[1] if found else str(error)


def _host(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts.netloc.rpartition("@")[2] or url


def _without_password(proxy: str) -> str:
    return re.sub(r"//[^@/]*@", "//", proxy)


# -- files


class _FileBody:
    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise Setback(f"{self._path} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        self._stream.close()


def _open_file(url: str, offset: int) -> Opened:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise SourceRefusal(f"{url}: a file URL has three slashes, file:///folder")
    path = Path(urllib.request.url2pathname(parts.path))
    try:
        stream = path.open("rb", buffering=0)
        size = path.stat().st_size
        stream.seek(min(offset, size))
    except FileNotFoundError:
        raise SourceRefusal(f"there is no file {path}") from None
    except OSError as error:
        raise SourceRefusal(f"{path} cannot be read: {error.strerror}") from error
    return Opened(_FileBody(stream, path), min(offset, size), size)
