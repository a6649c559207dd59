#!/usr/bin/env python3
"""mqtt: a room and an MQTT broker, both ways, by mosquitto's own clients.

kind = "process"; hooks = ["mail"]. It needs python3, mosquitto_sub and mosquitto_pub. The settings:

    room = "#home"                     it becomes a member
    subscribe = ["home/#"]             what is published there is written into the room, as `TOPIC: PAYLOAD`
    publish = "home/{name}/set"        `lamp: on`, written in the room or to the plugin, is published as `on` there;
                                       without {name} in it, all that is written is. Without publish, nothing
    arguments = ["-h", "127.0.0.1"]    for both clients: -p, --cafile, ...

Names and passwords do not belong on a command line: mosquitto's clients read theirs, as `-u NAME` and `-P PASSWORD`
on lines of their own, from ~/.config/mosquitto_sub and ~/.config/mosquitto_pub.

A broker that is away is tried again for ever. What was written meanwhile is published when it is back, in order, each
at least once; what was published meanwhile is kept by the broker, as far as it does that. Retained messages are not
written into the room: they would come again with each connection. Nor is what comes back of what was published from
here, where the topics overlap.
"""

import collections
import json
import os
import queue
import subprocess
import sys
import threading
import time

SETTINGS = json.loads(os.environ["HOLDLINE_SETTINGS"])
CLIENT_ID = "holdline-" + os.environ["HOLDLINE_PLUGIN"]
ROOM = SETTINGS["room"]
SUBSCRIBE = SETTINGS.get("subscribe", [])
PUBLISH = SETTINGS.get("publish")
ARGUMENTS = SETTINGS.get("arguments", [])

if PUBLISH is not None and any(wild in PUBLISH for wild in "+#"):
    sys.exit(f"publish = {PUBLISH!r} holds a wildcard, and nothing can be published there")

SHOWN_MAX = 1000  # characters of a payload that the room sees
ATTEMPT_S_MAX = 20  # for one message to be published
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 15  # between two attempts
STEADY_S = 60  # after which mosquitto_sub counts as one that works
ECHO_S_MAX = 60  # after which nothing is taken for an echo any more
ECHOES_MAX = 1000

# Runs a program until its standard input ends, as it does when this here is killed: two with one id would take turns.
UNTIL_INPUT_ENDS = ["sh", "-c", '"$@" & exec >&-; read -r _; kill $! 2>&-', "sh"]

writing = threading.Lock()
echoes = collections.deque(maxlen=ECHOES_MAX)  # (when, topic, payload) of what was published from here


def write(frame):
    with writing:
        print(json.dumps(frame), flush=True)


def say(problem):
    """Into holdline's log."""
    print(problem, file=sys.stderr, flush=True)


# From the room to the broker


def addressed(text):
    """The topic and the payload of what somebody wrote; None where that is nothing to publish."""
    if PUBLISH is None:
        return None
    if "{name}" not in PUBLISH:
        return PUBLISH, text
    name, colon, payload = text.partition(":")
    name = name.strip()
    if not colon or not name or any(wild in name for wild in "+#\n"):
        return None
    return PUBLISH.replace("{name}", name), payload.strip()


def publish(topic, payload):
    """Never gives up. Who says nothing for long counts as hung, so it says something each time."""
    echoes.append((time.monotonic(), topic, payload.encode()))
    command = ["mosquitto_pub", *ARGUMENTS, "-q", "1", "-t", topic, "-s"]
    pause_s, told = PAUSE_S_MIN, None
    while True:
        write({"type": "ping"})
        try:
            done = subprocess.run(command, input=payload.encode(), capture_output=True, timeout=ATTEMPT_S_MAX)
            if done.returncode == 0:
                return
            problem = done.stderr.decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            problem = f"no answer within {ATTEMPT_S_MAX} s"
        if problem != told:
            say(f"{topic} is not published yet: {problem}")
            told = problem
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


def publish_all(calls):
    while True:
        call = calls.get()
        what = addressed(call["text"])
        if what is not None:
            publish(*what)
        write({"id": call["id"]})


# From the broker to the room


def is_echo(topic, payload):
    while echoes and time.monotonic() - echoes[0][0] > ECHO_S_MAX:
        echoes.popleft()
    for echo in list(echoes):
        if echo[1:] == (topic, payload):
            echoes.remove(echo)
            return True
    return False


def write_into_room(line):
    payload, topic = line.rstrip("\n").split(" ", 1)
    payload = bytes.fromhex(payload)
    if is_echo(topic, payload):
        return
    shown = payload.decode(errors="replace")
    shown = shown if len(shown) <= SHOWN_MAX else shown[:SHOWN_MAX] + "…"
    write({"type": "send", "to": [ROOM], "text": f"{topic}: {shown}"})


def subscribe():
    topics = [word for topic in SUBSCRIBE for word in ("-t", topic)]
    # -c: the broker keeps what comes while we are away. -F: a payload may hold anything.
    command = ["mosquitto_sub", *ARGUMENTS, "-q", "1", "-c", "-i", CLIENT_ID, "-R", "-F", "%x %t", *topics]
    pause_s, told = PAUSE_S_MIN, None
    while True:
        began = time.monotonic()
        pipe = subprocess.PIPE
        run = [*UNTIL_INPUT_ENDS, *command]
        with subprocess.Popen(run, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as subscriber:
            for line in subscriber.stdout:
                write_into_room(line)
            subscriber.stdin.close()
            problem = subscriber.stderr.read().strip()
        if time.monotonic() - began > STEADY_S:
            pause_s, told = PAUSE_S_MIN, None
        if problem != told:
            say(f"mosquitto_sub has ended, and is started again until it stays: {problem}")
            told = problem
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


def main():
    write({"type": "join", "room": ROOM})
    calls = queue.SimpleQueue()  # holdline has no more than 256 calls on their way
    threading.Thread(target=publish_all, args=[calls], daemon=True).start()
    if SUBSCRIBE:
        threading.Thread(target=subscribe, daemon=True).start()
    for line in sys.stdin:
        frame = json.loads(line)
        if frame.get("hook") == "mail":
            calls.put(frame)
        elif frame.get("type") == "error":
            say(frame["message"])


def end(failure):
    """A thread has failed: all of it is started again by holdline."""
    sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


threading.excepthook = end
main()
