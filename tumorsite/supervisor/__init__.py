"""Everything `make run` starts, and the one process that looks after it.

The supervisor loads Django once and forks each part from itself, so that a start costs one import
of the code instead of one per part. It has no threads, and opens no connection to a database or
object store; a fork is therefore safe at any time.
"""


class StartError(Exception):
    """The site cannot start or go on; the text is one sentence for the operator."""
