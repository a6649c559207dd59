#!/usr/bin/env python3
"""NAME rolls dice. Write to it: `NAME: 2d6`.

For each thing that NAME is asked or told, holdline writes a line of JSON to its standard input, and wants a line with the
same id back. What goes to standard error stands in holdline's log. docs/plugins.md has all hooks and what they are given.
"""

import json
import os
import random
import re
import sys

SETTINGS = json.loads(os.environ["HOLDLINE_SETTINGS"])  # [plugin.settings]


def message(call):
    """Asked before a message is logged. {} lets it pass; {"reject": "why"} refuses it, {"text": "…"} changes it."""
    for word in SETTINGS["words"]:
        if word in call["text"].lower():
            return {"reject": f'we do not say "{word}" here'}
    return {}


def mail(call):
    """Told of every message to NAME, once it is on disk."""
    dice = re.fullmatch(r"([1-9]\d?)d([1-9]\d{0,2})", call["text"].strip())
    if dice:
        rolls = [random.randint(1, int(dice[2])) for _ in range(int(dice[1]))]
        text = f"{' + '.join(map(str, rolls))} = {sum(rolls)}"
    else:
        text = "write how many dice of how many sides, such as 2d6"
    # An id is sent once: who was answered already is not answered twice.
    write({"type": "send", "id": f"mail-{call['seq']}", "to": [call["from"]], "text": text})
    return {}


def write(line):
    print(json.dumps(line), flush=True)


HOOKS = {"message": message, "mail": mail}

for line in sys.stdin:
    call = json.loads(line)
    # What has no hook tells what became of a message that NAME sent.
    if "hook" in call:
        write({"id": call["id"], **HOOKS[call["hook"]](call)})
