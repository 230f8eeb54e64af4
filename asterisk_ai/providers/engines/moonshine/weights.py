"""Where the model's files are: in the installed wheel of ``moonshine-voice``, or in a folder that was fetched.

The package is looked up, never imported: only its data is used, not its library. The files of version 0.0.73 are known
by their SHA-256; others are refused, because tokens, shapes and every fitted number here belong to these.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from asterisk_ai.errors import ProviderRejected

NAME = "moonshine"
PACKAGE = "moonshine-voice==0.0.73"
FILES: Mapping[str, str] = MappingProxyType(
    {
        "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
    }
)
_MEND = (
    f"`asterisk-ai models fetch moonshine-tiny-en` gets it on every system; or pip install --no-deps '{PACKAGE}', or "
    "name a folder with its three files in providers.moonshine.model"
)


def packaged() -> Path | None:
    """The folder in the installed wheel, or None."""
    found = importlib.util.find_spec("moonshine_voice")
    folders = found.submodule_search_locations if found is not None else None
    folder = Path(folders[0]) / "assets" / "tiny-en" if folders else None
    return folder if folder is not None and folder.is_dir() else None


def checked(model: str = "") -> Path:
    """The folder of the model, its files read and compared; ``model`` names another than the wheel's.

    :raises ProviderRejected: a file is missing or another one; the message says how to get it.
    """
    folder = Path(model) if model else packaged()
    if folder is None:
        raise ProviderRejected(NAME, f"its model is not installed ({_MEND})")
    for name, digest in FILES.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ProviderRejected(NAME, f"its model cannot be read: {error} ({_MEND})") from error
        if found != digest:
            raise ProviderRejected(NAME, f"{path} is not the file that it should be ({_MEND})")
    return folder
