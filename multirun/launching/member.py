"""A process of a ``Crew``: it trains the shares of jobs that it is given, until the other end closes the socket."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext

from mdaf import conf, hydra_internals
from mdaf.hardware import gpus
from mdaf.hydra_internals import keeps_traceback, returned
from mdaf.messages.reporting import in_one_line, reported_in_one_line
from mdaf.naming.allowed import allowed
from mdaf.sweeper.__main__ import prepare
from mdaf.sweeper.hydra_ext.imports import end_quickly, imported_to_stay
from mdaf.sweeper.hydra_ext.targets import explained


def main(descriptor: int) -> None:
    """Answers requests. Ends with the code of a signal if one asks for that, after the state was saved."""
    conf.register()
    prepare()
    end_quickly()
    connection: Connection[Any, Any] = Connection(descriptor)
    if gpus.GIVEN in os.environ:
        gpus.wake()
    with reported_in_one_line(), explained(), hydra_internals.allowing(allowed()):
        with imported_to_stay():
            from mdaf.multirun.launching import lockstep
        while True:
            try:
                request = connection.recv_bytes()
            except EOFError:
                return
            sys.argv, callbacks, whitelist, config, jobs, max_replicas = pickle.loads(request)
            context = HydraContext(None, callbacks, whitelist)  # type: ignore[arg-type] # nothing is composed here
            lockstep.begin(context, config)
            results = lockstep.run_jobs(context, config, jobs, max_replicas)
            connection.send_bytes(pickle.dumps([_sendable(result) for result in results]))


def _sendable(result: JobReturn) -> JobReturn:
    """The result with an error that the other process can read: of its own kind or, if that can't be made, its parent.

    An error that its message alone does not explain takes its traceback along.
    """
    error = returned(result)
    if result.status is not JobStatus.FAILED:
        return result
    if not keeps_traceback(result) and in_one_line(error) is None:
        error.add_note("".join(traceback.format_exception(error)))
    if _is_readable(error):
        return result
    for kind in type(error).__mro__[1:]:
        general = kind(str(error))
        if _is_readable(general):
            general.__dict__.update(exit_code=getattr(error, "exit_code", 1))
            result.return_value = general.with_traceback(error.__traceback__)
            break
    return result


def _is_readable(error: Any) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]))
