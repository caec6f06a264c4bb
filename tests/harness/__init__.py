"""What tests, `make chaos` and `make bench` share: a provider that misbehaves, a proxy that breaks, real processes.

Nothing here imports the product, except the port lock, so that a broken product cannot hide itself.
"""
