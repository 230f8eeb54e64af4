#!/usr/bin/env python3
"""The same as ``asterisk-ai models fetch``, from a checkout: fetch the models that suit this machine."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from asterisk_ai.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["models", "fetch", *sys.argv[1:]]))
