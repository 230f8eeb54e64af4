"""``python -m asterisk_ai`` is ``asterisk-ai``."""

import sys

from asterisk_ai.cli.main import main

sys.exit(main())
