"""``python -m asterisk_ai`` is ``asterisk-ai``."""

import sys

from .cli.main import main

sys.exit(main())
