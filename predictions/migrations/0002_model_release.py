"""Artifacts, verdicts and the history of releases. Code from before can still write its rows."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('predictions', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    considered = {
        'constraint modelversion.one_row_per_artifact': 'Code from before leaves the artifact empty, which it allows; there are few rows.',
    }

    operations = [
        migrations.CreateModel(
            name='ModelEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('kind', models.CharField(choices=[('registered', 'Registered'), ('passed', 'Passed the gate'), ('refused', 'Refused by the gate'), ('bundled', 'Put into production with the code it came with'), ('promoted', 'Put into production'), ('overridden', 'Put into production against the gate'), ('rolled_back', 'Put back into production'), ('retired', 'Taken out of production'), ('not_loaded', 'A worker could not load it')], max_length=12)),
                ('actor', models.CharField(blank=True, default='', max_length=100)),
                ('note', models.TextField(blank=True, default='')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.AlterModelOptions(
            name='modelversion',
            options={'ordering': ['-created_at'], 'permissions': (('release_modelversion', 'Can put networks into production and take them out'),)},
        ),
        migrations.AddField(
            model_name='modelversion',
            name='artifact',
            field=models.CharField(blank=True, db_default='', default='', max_length=64, verbose_name='digest of all its files'),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='gate',
            field=models.JSONField(blank=True, null=True, verbose_name='verdict of the gate'),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='note',
            field=models.TextField(blank=True, db_default='', default='', verbose_name='why'),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='promoted_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='last put into production'),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='promoted_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='replaced',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='predictions.modelversion', verbose_name='replaced'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='digest',
            field=models.CharField(db_index=True, max_length=64, verbose_name='SHA-256 of the weights'),
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.UniqueConstraint(condition=models.Q(('artifact', ''), _negated=True), fields=('artifact',), name='one_row_per_artifact'),
        ),
        migrations.AddField(
            model_name='modelevent',
            name='by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='modelevent',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='predictions.modelversion'),
        ),
    ]
