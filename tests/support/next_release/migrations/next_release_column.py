"""A column that may be empty: what code from before does not mind."""

from django.db import migrations, models

from tests.support.next_release.apps import WRITTEN
from tests.support.next_release.migrations import PRESENT


class Migration(migrations.Migration):

    dependencies = [
        ('predictions', max(file.stem for file in PRESENT.glob('0*.py'))),
    ]

    operations = [
        migrations.AddField(
            model_name='scan',
            name='written_by',
            field=models.CharField(default=WRITTEN, max_length=20, null=True),
        ),
    ]
