"""`python -m probesteer` is the `probesteer` command."""

import sys

from probesteer.cli import main

sys.exit(main())
