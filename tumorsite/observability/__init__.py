"""What operators see of the site: logs, metrics, traces, reports of errors. Never who uses it.

All but the logs is off until a setting turns it on, and is not imported before.
"""
