"""How forms are written out."""

from django.forms.renderers import DjangoTemplates


class Renderer(DjangoTemplates):
    """Django's own, but that a label ends in no colon, as the site's own do not either."""

    field_template_name = "forms/field.html"
