"""What the commands of this folder share: errors in one sentence, and an orderly stop."""

import signal
import sys

from .files import CorpusError


def _stop(_signal, _frame):
    raise KeyboardInterrupt


def run(name, work):
    """Calls work(); returns the exit status: 0, 1 after an error, 130 if it was interrupted."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        work()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (CorpusError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
