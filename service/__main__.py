"""`python -m service` is `kvorum`."""

import sys

from service.cli import main

sys.exit(main())
