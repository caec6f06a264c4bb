"""The operators' console: pages, lists and actions over many apps, which call the services that the API calls."""
