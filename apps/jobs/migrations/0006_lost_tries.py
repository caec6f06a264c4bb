from django.db import migrations, models
from django.db.models import Count


def count_tries(apps, schema_editor):
    """Of the few jobs that lost something, count the tries that it was."""
    Attempt = apps.get_model("jobs", "Attempt")
    Job = apps.get_model("jobs", "Job")
    lost = Attempt.objects.filter(state__in=["failed", "abandoned"]).exclude(cost_nanousd=0).order_by()
    for job_id, tries in lost.values_list("call__job").annotate(Count("pk")).iterator():
        Job.objects.filter(pk=job_id).update(lost_tries=tries)


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0005_prices'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='billed_lost_nanousd',
            field=models.BigIntegerField(db_default=0, default=0, help_text="of their cost, what its card does not include: the customer's"),
        ),
        migrations.AddField(
            model_name='job',
            name='lost_tries',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='failed attempts that cost something'),
        ),
        migrations.RunPython(count_tries, migrations.RunPython.noop),
    ]
