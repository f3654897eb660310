"""As on the site's own pages: day first, 24 hours, and the zone named."""

DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "j M Y, H:i e"
