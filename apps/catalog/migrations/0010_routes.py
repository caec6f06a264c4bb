from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0002_prices_both_or_none'),
    ]

    operations = [
        migrations.AlterField(
            model_name='modelalias',
            name='route',
            field=models.CharField(choices=[('litellm', 'LiteLLM proxy'), ('litellm_sdk', "LiteLLM in the worker's own process"), ('openai', 'OpenAI-compatible API'), ('demo', 'built-in demo provider')], default='litellm', max_length=16),
        ),
    ]
