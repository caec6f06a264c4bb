from django.db import migrations


def zero_means_none(apps, schema_editor):
    """The next migration wants a limit to be empty or at least one; a zero was read as empty all along."""
    apps.get_model("catalog", "ModelAlias").objects.filter(max_output_tokens=0).update(max_output_tokens=None)


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0002_prices_both_or_none"),
    ]

    operations = [
        migrations.RunPython(zero_means_none, migrations.RunPython.noop),
    ]
