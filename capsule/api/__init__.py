"""Capsule from Python: trace a program, read its log, as typed records.

with capsule.trace(["pip", "--version"]) as run:
    for action in run.actions("net"):
        print(action.exe, action.target)
print(run.returncode, run.verify().verdict)
"""
