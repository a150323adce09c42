"""Logs in the formats of other tools: one module a format, and `formats` that lists them.

A writer is a generator: runs in, chunks of the output's bytes out. It opens no file and prints
nothing; `capsule.commands.export` does.
"""
