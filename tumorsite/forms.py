"""How forms are written out."""

from django.forms.renderers import DjangoTemplates


class Renderer(DjangoTemplates):
    """Django's own, but labels end without a colon, as the site's own do.

    Faults of a whole form are an alert.
    """

    form_template_name = "forms/form.html"
    field_template_name = "forms/field.html"
