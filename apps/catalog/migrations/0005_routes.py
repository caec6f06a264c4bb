from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0004_groups_and_limits'),
    ]

    operations = [
        migrations.AlterField(
            model_name='modelalias',
            name='route',
            field=models.CharField(choices=[('litellm', 'LiteLLM proxy'), ('litellm_sdk', "LiteLLM in the worker's own process"), ('openai', 'OpenAI-compatible API'), ('demo', 'built-in demo provider')], default='litellm', max_length=16),
        ),
        migrations.AlterField(
            model_name='modelgroupmember',
            name='route',
            field=models.CharField(choices=[('litellm', 'LiteLLM proxy'), ('litellm_sdk', "LiteLLM in the worker's own process"), ('openai', 'OpenAI-compatible API'), ('demo', 'built-in demo provider')], default='litellm', help_text='of a provider model; an alias has its own', max_length=16),
        ),
    ]
