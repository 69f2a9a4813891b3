"""A process's sign of life to its supervisor: a byte a second, written from the loop that does the work."""

import os
import signal
import time

VARIABLE = "SPACEOS_HEARTBEAT_FD"
BEAT_SECONDS = 1.0


class Heartbeat:
    """Beats when the work goes round. Without a supervisor it does nothing; once that is gone, it ends the process."""

    def __init__(self) -> None:
        given = os.environ.pop(VARIABLE, None)
        self._descriptor = int(given) if given else None
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, False)
            os.set_blocking(self._descriptor, False)
        self._beat_at = 0.0

    def beat(self) -> None:
        """Cheap enough to call in every turn of a loop."""
        if self._descriptor is None or time.monotonic() - self._beat_at < BEAT_SECONDS:
            return
        self._beat_at = time.monotonic()
        try:
            os.write(self._descriptor, b".")
        except BlockingIOError:
            pass  # the supervisor is suspended; it will find the pipe full of life
        except BrokenPipeError:
            os.close(self._descriptor)
            self._descriptor = None
            os.kill(os.getpid(), signal.SIGTERM)
