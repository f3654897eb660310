"""The operator's values, read once for every other settings module."""

import os

from tumorsite.settings.env import load

values = load(os.environ)
