import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

import apps.core.ids


def give_public_ids(registry, schema_editor):
    User = registry.get_model("organizations", "User")
    for user in User.objects.filter(public_id__isnull=True).iterator():
        User.objects.filter(pk=user.pk).update(public_id=apps.core.ids.new_id())


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0004_operator_roles'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='public_id',
            field=models.UUIDField(editable=False, help_text='the id that API callers use', null=True),
        ),
        migrations.RunPython(give_public_ids, migrations.RunPython.noop, elidable=False),
        migrations.AlterField(
            model_name='user',
            name='public_id',
            field=models.UUIDField(default=apps.core.ids.new_id, editable=False, help_text='the id that API callers use', unique=True),
        ),
        migrations.CreateModel(
            name='OperatorToken',
            fields=[
                ('id', models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=255)),
                ('prefix', models.CharField(help_text='its first characters, to recognise it by', max_length=16)),
                ('digest', models.CharField(editable=False, help_text='HMAC-SHA256 of the token', max_length=64, unique=True)),
                ('scopes', models.JSONField(blank=True, default=list, help_text="rights; empty means all of the operator's role")),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, help_text='to the minute', null=True)),
                ('last_used_address', models.CharField(blank=True, db_default='', default='', max_length=64)),
                ('created_at', models.DateTimeField(db_default=Now(), editable=False)),
                ('created_by', models.CharField(blank=True, max_length=255)),
                ('operator', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['operator', '-created_at'], name='operator_token_of')],
            },
        ),
    ]
