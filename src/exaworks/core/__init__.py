"""What all components share: events, configuration, plugin loading, process and file helpers.

Import its modules directly; this package itself imports nothing, so that small programs (such as
the keeper of local jobs) can use one module without paying for the rest.
"""
