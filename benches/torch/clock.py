"""The seconds that a call takes."""

import time


def timed(run):
    begin = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - begin
    # What is given back, is after the clock.
    del made
    return seconds
