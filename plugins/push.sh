#!/bin/sh
# push: a message to somebody who is away rings on their phone, by ntfy (https://ntfy.sh, or a server of your own).
#
# kind = "process"; hooks = ["logged"]. It needs jq and curl. The settings, of which topics is wanted:
#
#   [plugin.settings]
#   server = "https://ntfy.sh"
#   curl_config = "/etc/holdline/ntfy.curl"   read by curl: put `header = "Authorization: Bearer tk_…"` into it, and let
#                                             nobody else read it
#   show_text = false    whether the phone shows what was written, or only by whom
#   quiet_s = 60         after a push to somebody, nothing else is pushed to them for so long (0)
#   patience_s = 1800    how long a server that cannot be reached is tried
#   [plugin.settings.topics]
#   alice = "a-long-name-that-nobody-guesses"   whoever knows a topic of ntfy.sh reads it
#
# It is told of every message once it is on disk, and holds up nobody. A server that cannot be reached, or is busy, is
# tried again, with growing pauses; then the call is answered with `error`, comes again twice, and is given up, as
# holdline's log says. A push may come twice when something was killed in between.
set -u

server=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.server // "https://ntfy.sh"')
curl_config=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.curl_config // "/dev/null"')
patience_s=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.patience_s // 1800')

# One push, of the body on standard input: 0 when the server took it, or never will; 1 when it may be tried again.
push_once() {
    code=$(curl --config "$curl_config" --silent --show-error --max-time 20 --output /dev/null --write-out '%{http_code}' \
        --data-binary @- "$server") || return 1
    case $code in
    2??) return 0 ;;
    408 | 429 | 5??) echo "$server answers with $code" >&2 && return 1 ;;
    *) echo "$server answers with $code: not pushed" >&2 ;;
    esac
}

push() {
    pause_s=1
    waited_s=0
    until printf '%s' "$1" | push_once; do
        if [ "$waited_s" -ge "$patience_s" ]; then
            return 1
        fi
        # Who says nothing for long counts as hung.
        echo '{"type":"ping"}'
        sleep "$pause_s"
        waited_s=$((waited_s + pause_s))
        pause_s=$((pause_s < 15 ? 2 * pause_s : 30))
    done
}

# One jq for all calls. For each it prints what is to be pushed, a line of JSON as ntfy takes it, and then the call's id.
# It remembers when something was last pushed to whom; the same message once more is no other one.
jq --unbuffered -rn --argjson settings "$HOLDLINE_SETTINGS" '
    def topics: [.away[] | {name: ., topic: $settings.topics[.]} | select(.topic)];
    def body($topic): {
        topic: $topic,
        title: (.from + (.to | map(select(startswith("#"))) | if . == [] then "" else " in " + join(", ") end)),
        message: (if $settings.show_text then .text[:500] else "a message is kept for you" end)
    };
    foreach (inputs | select(.hook == "logged")) as $call ({last: {}};
        ($call.at | sub("\\.[0-9]+Z$"; "Z") | fromdate) as $now
        | .last as $last
        | .due = [$call | topics[] | select(
            ($last[.name] // {at: 0, seq: 0}) as $before
            | $before.seq == $call.seq or $now - $before.at >= ($settings.quiet_s // 0)
        )]
        | .last += (.due | map({key: .name, value: {at: $now, seq: $call.seq}}) | from_entries);
        (.due[] | .topic as $topic | "push " + ($call | body($topic) | tojson)), "done " + $call.id
    )' |
    {
        error=''
        while read -r what rest; do
            case $what in
            push) push "$rest" || error=",\"error\":\"$server could not be reached for $patience_s s\"" ;;
            done)
                printf '{"id":"%s"%s}\n' "$rest" "$error"
                error=''
                ;;
            esac
        done
    }
