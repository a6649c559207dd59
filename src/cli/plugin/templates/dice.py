#!/usr/bin/env python3
"""NAME rolls dice. Write to it: `NAME: 2d6`.

For each call, holdline writes a line of JSON to standard input, and expects a line with the same id on standard output.
Standard error goes to holdline's log. docs/plugins.md lists all hooks and their fields.
"""

import json
import os
import random
import re
import sys

SETTINGS = json.loads(os.environ["HOLDLINE_SETTINGS"])  # [plugin.settings]


def message(call):
    """Called before a message is logged. {} lets it pass, {"reject": "reason"} refuses it, {"text": "…"} changes it."""
    for word in SETTINGS["words"]:
        if word in call["text"].lower():
            return {"reject": f'we do not say "{word}" here'}
    return {}


def mail(call):
    """Called for every message to NAME, once it is stored."""
    dice = re.fullmatch(r"([1-9]\d?)d([1-9]\d{0,2})", call["text"].strip())
    if dice:
        rolls = [random.randint(1, int(dice[2])) for _ in range(int(dice[1]))]
        text = f"{' + '.join(map(str, rolls))} = {sum(rolls)}"
    else:
        text = "write the number of dice and of their sides, such as 2d6"
    # holdline sends an id only once, so a repeated call does not send a second answer.
    write({"type": "send", "id": f"mail-{call['seq']}", "to": [call["from"]], "text": text})
    return {}


def write(line):
    print(json.dumps(line), flush=True)


HOOKS = {"message": message, "mail": mail}

for line in sys.stdin:
    call = json.loads(line)
    # A line without a hook is the reply to a message that NAME sent.
    if "hook" in call:
        write({"id": call["id"], **HOOKS[call["hook"]](call)})
