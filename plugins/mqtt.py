#!/usr/bin/env python3
"""mqtt: connects a room with an MQTT broker, in both directions, through mosquitto's clients.

kind = "process"; hooks = ["mail"]. It needs python3, mosquitto_sub and mosquitto_pub. The settings:

    room = "#home"                     room, which the plugin joins
    subscribe = ["home/#"]             topics whose messages are sent to the room, as `TOPIC: PAYLOAD`
    publish = "home/{name}/set"        topic for messages to the room or the plugin: `lamp: on` is published as `on`, with
                                       lamp for {name}. Without {name}, every text is published; without publish, none
    arguments = ["-h", "127.0.0.1"]    arguments of both clients: -p, --cafile, ...

Keep user names and passwords off the command line: mosquitto's clients read `-u NAME` and `-P PASSWORD`, on lines of their
own, from ~/.config/mosquitto_sub and ~/.config/mosquitto_pub.

While the broker is down, the plugin retries for ever. Texts from the room are published when the broker is back, in order,
each at least once; the broker stores messages for the room, if it is configured so. The room gets no retained messages,
which would come again with each connection, and no echoes of what the plugin published, if the topics overlap.
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
    sys.exit(f"publish = {PUBLISH!r} contains a wildcard; name one topic")

SHOWN_MAX = 1000  # characters of a payload that the room gets
ATTEMPT_S_MAX = 20  # time limit for publishing one message
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 15  # pause between two attempts
STEADY_S = 60  # run time after which mosquitto_sub counts as working
ECHO_S_MAX = 60  # age after which a message is not an echo any more
ECHOES_MAX = 1000

# Runs a program until its standard input ends, which happens if this process is killed. Two subscribers with the same client
# id would disconnect each other.
UNTIL_INPUT_ENDS = ["sh", "-c", '"$@" & exec >&-; read -r _; kill $! 2>&-', "sh"]

writing = threading.Lock()
echoes = collections.deque(maxlen=ECHOES_MAX)  # (time, topic, payload) of published messages


def write(frame):
    with writing:
        print(json.dumps(frame), flush=True)


def log(problem):
    """Writes a line to holdline's log."""
    print(problem, file=sys.stderr, flush=True)


# From the room to the broker


def addressed(text):
    """Returns the topic and payload for a text from the chat; None if the text is not to be published."""
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
    """Publishes a message, and repeats that until it succeeds. Each attempt writes a ping, because holdline kills a program
    that writes nothing for long."""
    echoes.append((time.monotonic(), topic, payload.encode()))
    command = ["mosquitto_pub", *ARGUMENTS, "-q", "1", "-t", topic, "-s"]
    pause_s, logged = PAUSE_S_MIN, None
    while True:
        write({"type": "ping"})
        try:
            done = subprocess.run(command, input=payload.encode(), capture_output=True, timeout=ATTEMPT_S_MAX)
            if done.returncode == 0:
                return
            problem = done.stderr.decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            problem = f"no answer within {ATTEMPT_S_MAX} s"
        if problem != logged:
            log(f"{topic} is not published yet: {problem}")
            logged = problem
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
    # -c: the broker stores messages while the plugin is not connected. -F %x: a payload may contain any bytes.
    command = ["mosquitto_sub", *ARGUMENTS, "-q", "1", "-c", "-i", CLIENT_ID, "-R", "-F", "%x %t", *topics]
    pause_s, logged = PAUSE_S_MIN, None
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
            pause_s, logged = PAUSE_S_MIN, None
        if problem != logged:
            log(f"mosquitto_sub ended and is restarted: {problem}")
            logged = problem
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


def main():
    write({"type": "join", "room": ROOM})
    calls = queue.SimpleQueue()  # holdline has at most 256 calls in flight
    threading.Thread(target=publish_all, args=[calls], daemon=True).start()
    if SUBSCRIBE:
        threading.Thread(target=subscribe, daemon=True).start()
    for line in sys.stdin:
        frame = json.loads(line)
        if frame.get("hook") == "mail":
            calls.put(frame)
        elif frame.get("type") == "error":
            log(frame["message"])


def end(failure):
    """Ends the process after a failure in a thread; holdline restarts it."""
    sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


threading.excepthook = end
main()
