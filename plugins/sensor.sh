#!/bin/sh
# sensor: reads a number periodically, and sends a message when it crosses a limit and when it is back.
#
# kind = "process"; hooks = ["tick"]; tick_s is the period. It needs jq. The settings:
#
#   file = "/sys/class/thermal/thermal_zone0/temp"   a file with the number on its first line, or
#   command = "df --output=pcent / | tail -n 1"      a shell command that prints it
#   limit = 70        a message when the number is above this, ...
#   back = 65         ... and when it is below this again. If back is greater than limit, the other way round.
#   divide = 1000     divisor of the number (1)
#   what = "the processor"   name of the number (the file or command)
#   unit = " °C"      text after the number ("")
#   to = ["#home"]    recipients: peers, and rooms, which it joins
#
# It also sends a message, once, when the number cannot be read. It stores each message until the server has accepted it, so
# that none is lost or sent twice, even if a process is killed in between.
set -u
export LC_ALL=C

setting() {
    printf '%s' "$HOLDLINE_SETTINGS" | jq -r --arg key "$1" --arg default "$2" '.[$key] // $default'
}

file=$(setting file '')
command=$(setting command '')
limit=$(setting limit '')
back=$(setting back "$limit")
divide=$(setting divide 1)
what=$(setting what "${file:-$command}")
unit=$(setting unit '')
rooms=$(setting to '[]' | jq -c '.[] | select(startswith("#"))')

if [ -z "$limit" ] || [ -z "$file$command" ] || [ "$(setting to '')" = '' ]; then
    echo 'set limit, to, and file or command in [plugin.settings]' >&2
    exit 1
fi

# The state is fine, over, or lost if the number cannot be read; it is unknown until the server has sent the stored state.
# changes counts its changes. unsent is the message that is not accepted yet.
state=unknown
changes=0
unsent=''

# Stores the state: `{"state":"over","changes":3,"unsaid":"…"}`.
store_state() {
    jq -nc --arg state "$state" --argjson changes "$changes" --arg unsent "$unsent" \
        '{type: "set", key: "state", value: {state: $state, changes: $changes, unsaid: $unsent}}'
}

# Sends the message again. The same change has the same id, so the server sends it once.
send_unsent() {
    if [ -n "$unsent" ]; then
        printf '%s' "$HOLDLINE_SETTINGS" | jq -c --arg id "change-$changes" --arg text "$unsent" \
            '{type: "send", id: $id, to: .to, text: $text}'
    fi
}

reading() {
    if [ -n "$file" ]; then
        head -n 1 -- "$file" 2>/dev/null
    else
        sh -c "$command" 2>/dev/null </dev/null
    fi
}

# Prints the number in the first line, divided; prints nothing if there is none.
number() {
    reading | awk -v divide="$divide" 'NR == 1 && match($0, /-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?/) {
        printf "%.10g", substr($0, RSTART, RLENGTH) / divide
    }'
}

# Prints the next state, from the number and the last state.
next_state() {
    awk -v number="$1" -v state="$2" -v limit="$limit" -v back="$back" 'BEGIN {
        if (number == "") { print "lost"; exit }
        # If back is greater than limit, over means below.
        sign = back > limit ? -1 : 1
        if (sign * number > sign * limit) print "over"
        else if (sign * number < sign * back || state != "over") print "fine"
        else print "over"
    }'
}

describe() {
    case $1 in
    over) printf '%s: %s%s, past the limit of %s%s' "$what" "$2" "$unit" "$limit" "$unit" ;;
    fine) printf '%s: %s%s, fine again' "$what" "$2" "$unit" ;;
    lost) printf '%s cannot be read' "$what" ;;
    esac
}

read_and_report() {
    if [ "$state" = unknown ]; then
        return
    fi
    # A message that is not accepted yet is sent again, before anything new.
    if [ -n "$unsent" ]; then
        send_unsent
        return
    fi
    now=$(number)
    next=$(next_state "$now" "$state")
    if [ "$next" != "$state" ]; then
        state=$next
        changes=$((changes + 1))
        unsent=$(describe "$state" "$now")
        store_state
        send_unsent
    fi
}

# Joins its rooms. Joining again changes nothing.
for room in $rooms; do
    printf '{"type":"join","room":%s}\n' "$room"
done
echo '{"type":"get","key":"state"}'

tab=$(printf '\t')

# One jq for all lines of the server: it prints words separated by tabs, of which only the last can be empty. After `//` stand
# the values for a new plugin, which has stored nothing.
jq --unbuffered -r '
    if .hook == "tick" then ["tick", .id]
    elif .type == "value" then ["value", (.value | .state // "fine", .changes // 0, .unsaid // "")]
    elif .type == "accepted" then ["accepted", .id]
    elif .type == "error" then [if .code == "id_reused" then "accepted" else "error" end, .id // "-", .message]
    else empty end | @tsv' |
    while IFS=$tab read -r kind first second third; do
        case $kind in
        value)
            state=$first changes=$second
            # Undoes the escapes of @tsv for tabs and backslashes.
            unsent=$(printf '%b' "$third")
            ;;
        tick)
            read_and_report
            printf '{"id":"%s"}\n' "$first"
            ;;
        accepted)
            if [ "$first" = "change-$changes" ]; then
                unsent=''
                store_state
            fi
            ;;
        error) printf '%s\n' "$second" >&2 ;;
        esac
    done
