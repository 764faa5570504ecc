"""A command that says what it was told to say, and leaves in the way it was told to leave."""

from __future__ import annotations

import signal
import sys
import time

from mdaf.messages import outcome


def main(how: str) -> None:
    outcome.note(folder="somewhere")
    print("a first line", flush=True)
    if how == "refuses":
        print("error: training.epoch: there is no such key", file=sys.stderr)
        sys.exit(2)
    if how == "breaks":
        print("RuntimeError: out of luck", file=sys.stderr)
        sys.exit(1)
    if how == "waits":
        signal.signal(signal.SIGINT, lambda *_: sys.exit(75))
        print("waiting", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
