"""A column that may be empty and an index: what code from before does not mind."""

from django.db import migrations, models

from predictions.online import AddIndexOnline
from tests.support.next_release.apps import WRITTEN
from tests.support.next_release.migrations import PRESENT


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('predictions', max(file.stem for file in PRESENT.glob('0*.py'))),
    ]

    operations = [
        migrations.AddField(
            model_name='scan',
            name='written_by',
            field=models.CharField(default=WRITTEN, max_length=20, null=True),
        ),
        AddIndexOnline(
            model_name='scan',
            index=models.Index(fields=['written_by', '-id'], name='scan_written_by'),
        ),
    ]
