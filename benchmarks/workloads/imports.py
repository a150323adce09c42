"""imports.py N: imports N modules of the standard library in a fresh interpreter."""

import importlib
import sys

NAMES = """
asyncio argparse ast bz2 csv ctypes curses decimal difflib email.message fractions
http.client json logging lzma multiprocessing sqlite3 ssl unittest xml.dom.minidom
""".split()  # noqa: SIM905

for name in NAMES[: int(sys.argv[1])]:
    importlib.import_module(name)
