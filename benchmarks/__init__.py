"""What the product costs: `bench` measures the running system, `steps` the call path piece by piece.

Nothing here is imported by the product. Figures rank choices on one machine; they are no promises.
"""
