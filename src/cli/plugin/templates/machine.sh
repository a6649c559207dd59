#!/bin/sh
# NAME tells how this machine is. Write to it: `NAME: load` or `NAME: disk`.
#
# For each thing that NAME is asked or told, holdline writes a line of JSON to its standard input, and wants a line with
# the same id back. What goes to standard error stands in holdline's log. docs/plugins.md has all hooks and what they
# are given.

# Printed alone, it lets a message pass, and says of what is only told that it is dealt with.
done_with() {
    printf '{"id":"%s"}\n' "$1"
}

tab=$(printf '\t')

# One jq for all calls: it makes them lines with tabs. What has no hook tells what became of a message that NAME sent.
jq --unbuffered -r 'select(.hook) | [.hook, .id, .seq // 0, .from, .text] | @tsv' |
    while IFS=$tab read -r hook id seq from text; do
        case $hook in
        message) # Asked before a message is logged.
            case $text in
            *heck*) printf '{"id":"%s","reject":"we do not say that here"}\n' "$id" ;;
            *) done_with "$id" ;;
            esac
            ;;
        mail) # Told of every message to NAME, once it is on disk.
            case $text in
            load) answer=$(uptime) ;;
            disk) answer=$(df -h . | tail -n 1) ;;
            *) answer='write load, or disk' ;;
            esac
            # An id is sent once: who was answered already is not answered twice. jq quotes what others wrote.
            jq -nc --arg id "mail-$seq" --arg to "$from" --arg text "$answer" \
                '{type: "send", id: $id, to: [$to], text: $text}'
            done_with "$id"
            ;;
        *) done_with "$id" ;;
        esac
    done
