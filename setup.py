"""Builds the Cython modules; everything else is in pyproject.toml.

CAPSULE_CHECKED=1 builds with bounds checks, for the test suite's second pass: Cython's own, and
AddressSanitizer and UndefinedBehaviorSanitizer for what goes through C pointers. GCC's runtimes
have to be preloaded then (.ci/checked). CAPSULE_FUZZ=1 adds what libFuzzer needs of Clang
(tests/fuzz/run).
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

fuzz = os.environ.get("CAPSULE_FUZZ") == "1"
checked = fuzz or os.environ.get("CAPSULE_CHECKED") == "1"
sanitizers = "-fsanitize=address,undefined" + (",fuzzer-no-link" if fuzz else "")
compile_args = ["-O3"]
link_args = []
if checked:
    compile_args = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", sanitizers]
    link_args = [sanitizers]
modules = [
    "_actions",
    "_aggregate",
    "_argcounts",
    "_chain",
    "_detail",
    "_enrich",
    "_facts",
    "_jsonl",
    "_keys",
    "_linux",
    "_locate",
    "_parse",
    "enforce._confine",
]

# Not a module of Python's: a library that strace is given with LD_PRELOAD.
guard = Extension(
    "capsule._tracer_guard",
    ["capsule/_tracer_guard.c"],
    extra_compile_args=["-O2"],
    libraries=["pthread", "dl"],
)

setup(
    ext_modules=[
        guard,
        *cythonize(
            [
                Extension(
                    f"capsule.{name}",
                    [f"capsule/{name.replace('.', '/')}.pyx"],
                    extra_compile_args=compile_args,
                    extra_link_args=link_args,
                )
                for name in modules
                if os.path.exists(f"capsule/{name.replace('.', '/')}.pyx")
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
            # Cython goes by dates alone, which flags do not move.
            force=checked,
        ),
    ]
)
