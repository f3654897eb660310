"""How forms are written out."""

from django.forms.renderers import DjangoTemplates


class Renderer(DjangoTemplates):
    """Django's own, but that a label ends in no colon, as the site's own do not either.

    And what is wrong with a whole form is an alert.
    """

    form_template_name = "forms/form.html"
    field_template_name = "forms/field.html"
