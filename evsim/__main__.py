"""``python -m evsim`` is the command ``evsim``."""

import sys

from evsim.cli import main

sys.exit(main())
