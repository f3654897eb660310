"""Addresses for data scientists."""

from django.urls import path

from training import views

urlpatterns = [
    path("", views.runs, name="training"),
    path("<uuid:run_id>/", views.run, name="training_run"),
    path("<uuid:run_id>/curves.svg", views.curves, name="training_curves"),
    path("<uuid:run_id>/card/", views.card, name="training_card"),
]
