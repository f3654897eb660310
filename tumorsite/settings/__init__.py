"""Django settings, one module per part. What an operator may change is in `env.TABLE`."""

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
