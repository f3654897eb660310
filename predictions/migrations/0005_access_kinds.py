"""Names of what is handed out; the column stays as it is."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('predictions', '0004_shadow_and_drift'),
    ]

    operations = [
        migrations.AlterField(
            model_name='access',
            name='kind',
            field=models.CharField(choices=[('image', 'Scan'), ('thumbnail', 'Small picture'), ('area', 'Affected area'), ('outline', 'Its outline'), ('contours', 'Its contours'), ('attention', 'Attention map'), ('report', 'Report'), ('export', 'All pictures, in an export')], max_length=20),
        ),
    ]
