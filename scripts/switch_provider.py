#!/usr/bin/env python3
"""The same as ``asterisk-ai provider switch``, from a checkout: switch_provider.py NAME [--dry-run] [--force] ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from asterisk_ai.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["provider", "switch", *sys.argv[1:]]))
