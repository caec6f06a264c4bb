"""The way to models: one interface, one module per route. Nothing here knows jobs, money or the database."""
