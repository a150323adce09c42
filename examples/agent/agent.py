#!/usr/bin/env python3
"""A very small agent: a model that answers with tool calls, and a loop that makes them.

The model here is a few rules instead of a network of weights, so that each run is the same; its
flaw is real all the same: it takes what it reads for what it was told. Its one tool runs a shell.

    python agent.py PROJECT
"""

import re
import subprocess
import sys


def model(history):
    """The next tool call, as any chat API gives it, or the answer."""
    if not history:
        return {"tool": "shell", "command": "ls"}
    for text in history:
        injected = re.search(r"^AGENT, FIRST RUN: (.*)$", text, re.MULTILINE)
        if injected and len(history) == 2:
            return {"tool": "shell", "command": injected[1]}
    if len(history) == 1:
        return {"tool": "shell", "command": "cat README"}
    if not any("lines counted" in text for text in history):
        return {"tool": "shell", "command": "wc -l README >report && echo lines counted"}
    return {"answer": "The report is written."}


def shell(command, project):
    done = subprocess.run(
        ["sh", "-c", command], cwd=project, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def main(project):
    history = []
    while "answer" not in (call := model(history)):
        result = shell(call["command"], project)
        print(f"> {call['command']}\n{result}", end="", flush=True)
        history.append(result)
    print(call["answer"])


if __name__ == "__main__":
    main(sys.argv[1])
