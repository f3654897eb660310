"""How static files are stored: compressed, under names that change with their content."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Also rewrites imports between our script modules, so that no release mixes with another."""

    support_js_module_import_aggregation = True
