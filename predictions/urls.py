"""Addresses of scans and results."""

from django.urls import path

from predictions.views import history, pictures, results, submission

urlpatterns = [
    path("", submission.home, name="home"),
    path("model/", submission.about_model, name="model"),
    # GET shows the history, POST submits a scan.
    path("scans/", history.scans, name="history"),
    path("scans/visit.json", submission.visit, name="visit"),
    path("scans/export.csv", history.export, name="export"),
    path("scans/delete/", history.delete_many, name="delete_many"),
    path("scans/compare/", history.compare, name="compare"),
    path("results/<uuid:prediction_id>/", results.result, name="result"),
    path("results/<uuid:prediction_id>/state.json", results.state, name="state"),
    path("results/<uuid:prediction_id>/cancel/", results.cancel, name="cancel"),
    path("results/<uuid:prediction_id>/again/", results.again, name="again"),
    path("results/<uuid:prediction_id>/delete/", results.delete, name="delete"),
    path("results/<uuid:prediction_id>/report.pdf", pictures.report, name="report"),
    path(
        "results/<uuid:prediction_id>/images/<str:kind>.<str:suffix>",
        pictures.picture,
        name="picture",
    ),
]
