"""Files that one user alone may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from asterisk_ai.config.schema import Config

TOKEN_FILE = "control.token"  # noqa: S105 - its name


def write_private(path: Path, text: str) -> None:
    """Write it whole or not at all, as mode 0600; written by root it is the folder's owner's. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    owner = path.parent.stat()
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if os.geteuid() == 0:
        os.chown(aside, owner.st_uid, owner.st_gid)
    aside.replace(path)


def control_token(config: Config) -> str:
    """What lets a program see and end live calls: ``http.token``, else what stands beside the store; empty where none.

    It is read whenever it is asked for, as who wants to control calls may make it while the server runs.
    """
    if config.http is not None and config.http.token:
        return config.http.token
    try:
        return config.store_path().with_name(TOKEN_FILE).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def made_control_token(config: Config) -> str:
    """The same; made where there is none. Raises OSError."""
    if not control_token(config):
        write_private(config.store_path().with_name(TOKEN_FILE), secrets.token_urlsafe(32) + "\n")
    return control_token(config)
