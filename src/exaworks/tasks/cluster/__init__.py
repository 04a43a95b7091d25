"""Engines across nodes: one queue in the program, and an agent on each node.

An *agent* (:mod:`.agent`) is a process that has the local engine of its node and connects back to
the program. A *source* (:mod:`.source`) is whatever starts agents: a batch job, or another system.
The engine (:mod:`.engine`) decides on which node each task runs, sends it there a little ahead of
time, and gives tasks of nodes that are lost to others.
"""
