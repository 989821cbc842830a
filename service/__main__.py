"""`python -m service` is `kvorum`."""

import sys

from service.cli import main

if __name__ == "__main__":  # a worker process imports this file under another name
    sys.exit(main())
