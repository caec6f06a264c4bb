"""Streamed answers: put together by the worker (`assembly`), sent on in pieces (`relay`), their progress saved
(`marks`), and read by who waits (`reading`).

Pieces are hints like replies: what is lost on the way is sent from the stored answer at the end.
"""
