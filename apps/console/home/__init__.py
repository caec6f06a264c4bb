"""The dashboard: what was asked for in its URL, and a module for each kind of panel."""
