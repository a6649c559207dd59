#!/bin/sh
# sensor: looks at a number again and again, and says when it crosses a limit and when it is back.
#
# kind = "process"; hooks = ["tick"]; tick_s says how often it looks. It needs jq. The settings:
#
#   file = "/sys/class/thermal/thermal_zone0/temp"   where the number stands, on the first line; or
#   command = "df --output=pcent / | tail -n 1"      a command of the shell that prints it
#   limit = 70        said when it is over this, ...
#   back = 65         ... and when it is under this again. Where back is more than limit: the other way round.
#   divide = 1000     the number is divided by this first (1)
#   what = "the processor"   how it is called (the file or command)
#   unit = " °C"      what stands behind the number ("")
#   to = ["#home"]    who is told: peers, and rooms, of which it becomes a member
#
# What cannot be read is said too, once. What is to be said is kept until the server has accepted it, so that nothing is
# said twice, or not at all, whatever is killed in between.
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
    echo 'limit, to, and file or command, are wanted in [plugin.settings]' >&2
    exit 1
fi

# How it is: fine, over, or lost where it cannot be read, and unknown until the server has said what was kept; how often
# that has changed; and what is not accepted yet.
state=unknown
changes=0
unsaid=''

# What is kept of it: `{"state":"over","changes":3,"unsaid":"…"}`.
keep() {
    jq -nc --arg state "$state" --argjson changes "$changes" --arg unsaid "$unsaid" \
        '{type: "set", key: "state", value: {state: $state, changes: $changes, unsaid: $unsaid}}'
}

# The same change has the same id, and is sent once.
say_unsaid() {
    if [ -n "$unsaid" ]; then
        printf '%s' "$HOLDLINE_SETTINGS" | jq -c --arg id "change-$changes" --arg text "$unsaid" \
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

# The number in the first line, divided; nothing if there is none.
number() {
    reading | awk -v divide="$divide" 'NR == 1 && match($0, /-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?/) {
        printf "%.10g", substr($0, RSTART, RLENGTH) / divide
    }'
}

# The next state, of the number and the state before.
next_state() {
    awk -v number="$1" -v state="$2" -v limit="$limit" -v back="$back" 'BEGIN {
        if (number == "") { print "lost"; exit }
        # Over is under where back is the larger one.
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

look() {
    if [ "$state" = unknown ]; then
        return
    fi
    # What is not accepted yet is said again, before anything new is.
    if [ -n "$unsaid" ]; then
        say_unsaid
        return
    fi
    now=$(number)
    next=$(next_state "$now" "$state")
    if [ "$next" != "$state" ]; then
        state=$next
        changes=$((changes + 1))
        unsaid=$(describe "$state" "$now")
        keep
        say_unsaid
    fi
}

# Who is in a room already stays in it.
for room in $rooms; do
    printf '{"type":"join","room":%s}\n' "$room"
done
echo '{"type":"get","key":"state"}'

tab=$(printf '\t')

# One jq for all lines of the server: it makes them words with tabs between, none of them empty but the last. What stands
# behind `//` is there where nothing was kept.
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
            # As it was before jq took care of tabs and backslashes.
            unsaid=$(printf '%b' "$third")
            ;;
        tick)
            look
            printf '{"id":"%s"}\n' "$first"
            ;;
        accepted)
            if [ "$first" = "change-$changes" ]; then
                unsaid=''
                keep
            fi
            ;;
        error) printf '%s\n' "$second" >&2 ;;
        esac
    done
