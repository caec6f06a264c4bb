"""Operators have one role instead of flags, groups and permissions.

Superusers become owners. Other staff become viewers, since no permissions of theirs can be read as a role: an owner
gives them theirs.
"""

from django.db import migrations, models

import apps.organizations.models


def give_roles(apps, schema_editor):
    user = apps.get_model("organizations", "User")
    user.objects.filter(is_staff=True).update(role="viewer")
    user.objects.filter(is_superuser=True).update(role="owner")


def give_flags(apps, schema_editor):
    user = apps.get_model("organizations", "User")
    user.objects.exclude(role="").update(is_staff=True)
    user.objects.filter(role="owner").update(is_superuser=True)


class Migration(migrations.Migration):
    dependencies = [("organizations", "0003_display_currency")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="role",
            field=models.CharField(
                blank=True,
                choices=[
                    ("owner", "Owner"),
                    ("admin", "Admin"),
                    ("billing", "Billing"),
                    ("support", "Support"),
                    ("viewer", "Viewer"),
                ],
                db_default="",
                default="",
                help_text="what this operator may do in the console and the API; empty: no operator",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="time_zone",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="IANA name: in which the console shows instants; empty: the browser's",
                max_length=64,
                validators=[apps.organizations.models.validate_time_zone],
            ),
        ),
        migrations.RunPython(give_roles, give_flags),
        migrations.RemoveField(model_name="user", name="is_staff"),
        migrations.RemoveField(model_name="user", name="is_superuser"),
        migrations.RemoveField(model_name="user", name="groups"),
        migrations.RemoveField(model_name="user", name="user_permissions"),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(role__in=["", "owner", "admin", "billing", "support", "viewer"]), name="user_role"
            ),
        ),
    ]
