# SPDX-License-Identifier: ISC
"""Something that goes on beside a block."""
import threading
from contextlib import contextmanager


@contextmanager
def beside(work):
    """Runs work(over) in a thread while the block runs; over is set at its end, and work is waited for."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
