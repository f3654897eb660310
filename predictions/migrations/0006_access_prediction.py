"""An index on what may be the largest table, made while rows are written to it."""

from django.db import migrations, models

from predictions.migration_operations import AddIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('predictions', '0005_access_kinds'),
    ]

    operations = [
        AddIndexOnline(
            model_name='access',
            index=models.Index(fields=['prediction_id'], name='access_prediction'),
        ),
    ]
