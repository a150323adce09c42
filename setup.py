"""Builds the Cython modules; everything else is in pyproject.toml.

CAPSULE_CHECKED=1 builds with bounds checks, for the test suite's second pass.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

checked = os.environ.get("CAPSULE_CHECKED") == "1"
modules = [
    "_actions",
    "_aggregate",
    "_chain",
    "_enrich",
    "_facts",
    "_jsonl",
    "_keys",
    "_linux",
    "_locate",
    "_parse",
]

# Not a module of Python's: a library that strace is given with LD_PRELOAD.
guard = Extension(
    "capsule._tracer_guard",
    ["capsule/_tracer_guard.c"],
    extra_compile_args=["-O2"],
    libraries=["pthread", "dl"],
)

setup(
    ext_modules=[guard]
    + cythonize(
        [
            Extension(f"capsule.{name}", [f"capsule/{name}.pyx"], extra_compile_args=["-O3"])
            for name in modules
            if os.path.exists(f"capsule/{name}.pyx")
        ],
        compiler_directives={
            "language_level": "3",
            "boundscheck": checked,
            "wraparound": checked,
            "initializedcheck": checked,
            "overflowcheck": False,
            "cdivision": True,
        },
        annotate=os.environ.get("CAPSULE_ANNOTATE") == "1",
    )
)
