"""Django settings, one module per part. What an operator may change is in `env.TABLE`."""

import contextlib
import ctypes
import gc

from tumorsite.settings.env import *
from tumorsite.settings.base import *
from tumorsite.settings.database import *
from tumorsite.settings.queue import *
from tumorsite.settings.storage import *
from tumorsite.settings.accounts import *
from tumorsite.settings.security import *
from tumorsite.settings.mail import *
from tumorsite.settings.logs import *
from tumorsite.settings.content import *

# A start makes half a million objects that stay. With Python's usual threshold the collector
# looks through them again and again, a quarter of the time that a process takes to start.
gc.set_threshold(50_000, 20, 20)

# glibc keeps freed blocks of up to 32 MB, each thread its own: after a few of the largest pictures
# a worker held 400 MB that nobody used. Blocks above 4 MB go back to the system at once.
_M_MMAP_THRESHOLD = -3
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 4 * 2**20)
