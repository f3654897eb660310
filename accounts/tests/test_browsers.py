"""Browsers by name."""

import pytest

from accounts.templatetags.browsers import browser_name

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/130.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/130.0 Edg/130.0", "Edge on Windows"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:131.0) Firefox/131.0", "Firefox on Android"),
        (
            f"Mozilla/5.0 (iPhone; like Mac OS X) {WEBKIT} Version/17.5 Safari/604",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 200, "x" * 60),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_has_a_name_that_people_know(agent: str, name: str) -> None:
    assert browser_name(agent) == name
