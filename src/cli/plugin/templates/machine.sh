#!/bin/sh
# NAME reports the load and disk space of this machine. Write to it: `NAME: load` or `NAME: disk`.
#
# For each call, holdline writes a line of JSON to standard input, and expects a line with the same id on standard output.
# Standard error goes to holdline's log. docs/plugins.md lists all hooks and their fields.

# An answer with only an id lets a message pass. For other hooks it says that the call is handled.
answer() {
    printf '{"id":"%s"}\n' "$1"
}

tab=$(printf '\t')

# One jq for all calls: it prints their fields separated by tabs. A line without a hook is the reply to a message that NAME sent.
jq --unbuffered -r 'select(.hook) | [.hook, .id, .seq // 0, .from, .text] | @tsv' |
    while IFS=$tab read -r hook id seq from text; do
        case $hook in
        message) # Called before a message is logged.
            case $text in
            *heck*) printf '{"id":"%s","reject":"we do not say that here"}\n' "$id" ;;
            *) answer "$id" ;;
            esac
            ;;
        mail) # Called for every message to NAME, once it is stored.
            case $text in
            load) text=$(uptime) ;;
            disk) text=$(df -h . | tail -n 1) ;;
            *) text='write load or disk' ;;
            esac
            # holdline sends an id only once, so a repeated call does not send a second answer. jq quotes the text safely.
            jq -nc --arg id "mail-$seq" --arg to "$from" --arg text "$text" \
                '{type: "send", id: $id, to: [$to], text: $text}'
            answer "$id"
            ;;
        *) answer "$id" ;;
        esac
    done
