"""Processes that run Python functions for a program: a nursery, and the workers it forks.

The nursery (:mod:`.nursery`) is a small process with a single thread, so that forking a worker
from it costs a millisecond and is safe whatever the program itself is doing. It tells how each
worker ended, and everything dies with the program: when that goes, in whatever way, the nursery
kills the workers and what they have started, and goes too.

A worker (:mod:`.worker`) gets calls through a socket, and a *token*, its number, for each of them
through a pipe. It takes a token before it runs the call. The program keeps the reading end of that
pipe as well: a call whose token it takes back will never run there and can be given to another
worker, and when a worker was killed, the tokens that are left tell exactly which calls it had not
begun. So calls can be sent ahead, many at a time, and still each runs once at most.

These modules need the standard library only; they run in a bare interpreter.
"""
