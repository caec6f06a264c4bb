"""The Python client and the runnable examples; every file can be copied alone into another project."""
