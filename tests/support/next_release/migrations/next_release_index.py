"""An index that is made while rows are written, so in no transaction and alone."""

from django.db import migrations, models

from predictions.migration_operations import AddIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('predictions', 'next_release_column'),
    ]

    operations = [
        AddIndexOnline(
            model_name='scan',
            index=models.Index(fields=['written_by', '-id'], name='scan_written_by'),
        ),
    ]
