"""Tags of pictures belong to the page editor; among the records they would only be in the way."""

from django.contrib import admin
from taggit import admin as taggit_admin

admin.site.unregister(taggit_admin.Tag)
