"""Which files are left out where a developer's machine has not all of ``pip install -e .[test]``."""

from __future__ import annotations

import importlib.util
import os

collect_ignore = []
if not os.environ.get("CI") and not all(map(importlib.util.find_spec, ("openai", "deepgram"))):
    collect_ignore.append("test_vendor_types.py")  # the vendors' SDKs; the CI must have them
