"""`python -m perceiver_runtime` is the `perceiver` command."""

import sys

from perceiver_runtime.commands.main import main

sys.exit(main())
