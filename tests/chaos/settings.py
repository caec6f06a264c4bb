"""The product's settings for processes that have guards taken out. Only tests of the tests name this module."""

from saasllm import settings as product

# A module of settings is its names; there is no other way to take them over.
globals().update({name: value for name, value in vars(product).items() if name.isupper()})

INSTALLED_APPS = [*product.INSTALLED_APPS, "tests.chaos.sabotage.SabotageConfig"]
