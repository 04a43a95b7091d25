"""The keeper: one small process a user and host that starts, reaps and records local jobs.

Jobs submitted to it outlive the program that submitted them. Its parts, each in its own module:

- :mod:`.start` finds the keeper of this user and host, or starts it, and connects to it;
- :mod:`.protocol` has the frames that clients exchange with it;
- :mod:`.core` decides (a state machine without processes, sockets or a clock);
- :mod:`.daemon` is the process around it, with :mod:`.server` and :mod:`.requests` (clients),
  :mod:`.store` (SQLite), :mod:`.spawn` (starting), :mod:`.endings` and :mod:`.processes` (finding
  and ending processes);
- :mod:`.supervisor` is the keeper's parent, which restarts it and inherits its orphans;
  :mod:`.recovery`, :mod:`.journal` and :mod:`.orphans` take the jobs over after a restart.

Import the modules directly: this package itself imports nothing. The daemon's side runs with
``python -I -S`` and therefore uses the standard library alone.
"""
