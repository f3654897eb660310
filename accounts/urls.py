"""The account's own pages; allauth has those for signing in, addresses and second factors."""

from django.urls import path

from accounts import views

urlpatterns = [
    path("", views.overview, name="account"),
    path("export/", views.export, name="account_export"),
    path("erase/", views.erase, name="account_erase"),
]
