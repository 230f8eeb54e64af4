"""Sphinx's settings. ``make docs`` builds into ``build/docs``; a warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

project = "asterisk-ai"
copyright = "the asterisk-ai maintainers, MIT licence"
_found = re.search(r'__version__ = "(.+)"', (ROOT / "asterisk_ai" / "__init__.py").read_text(encoding="utf-8"))
release = version = _found.group(1) if _found else ""
extensions = ["sphinx.ext.autodoc", "reference"]
html_theme = "furo"
html_title = f"asterisk-ai {release}"
html_static_path = ["_static"]
exclude_patterns = ["_ext"]
autodoc_typehints = "description"
nitpicky = False
