#!/bin/sh
# push: notifies the phones of offline people of messages, by ntfy (https://ntfy.sh, or your own server).
#
# kind = "process"; hooks = ["logged"]. It needs jq and curl. The setting topics is required:
#
#   [plugin.settings]
#   server = "https://ntfy.sh"
#   curl_config = "/etc/holdline/ntfy.curl"   a file for curl, with `header = "Authorization: Bearer tk_…"`; only the user of
#                                             the server may read it
#   show_text = false    whether the phone shows the text, or only the sender
#   quiet_s = 60         seconds after a push to a person in which nothing else is pushed to them (0)
#   patience_s = 1800    seconds in which the push is repeated while the server cannot be reached
#   [plugin.settings.topics]
#   alice = "a-long-name-that-nobody-guesses"   everybody who knows a topic of ntfy.sh can read it
#
# holdline calls it for every stored message, and waits for nothing. While the push server cannot be reached or is busy, it
# repeats the push, with growing pauses; then it answers the call with `error`. holdline repeats the call twice, then gives it
# up and logs that. A push may come twice if a process was killed in between.
set -u

server=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.server // "https://ntfy.sh"')
curl_config=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.curl_config // "/dev/null"')
patience_s=$(printf '%s' "$HOLDLINE_SETTINGS" | jq -r '.patience_s // 1800')

# Pushes the body on standard input once. Returns 1 if a repetition may succeed, else 0.
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
        # holdline kills a program that writes nothing for long.
        echo '{"type":"ping"}'
        sleep "$pause_s"
        waited_s=$((waited_s + pause_s))
        pause_s=$((pause_s < 15 ? 2 * pause_s : 30))
    done
}

# One jq for all calls. For each call it prints the pushes, as lines of JSON for ntfy, and then the call's id. It remembers the
# last push to each person. A repeated call for the same message counts as the same push.
jq --unbuffered -rn --argjson settings "$HOLDLINE_SETTINGS" '
    def topics: [.away[] | {name: ., topic: $settings.topics[.]} | select(.topic)];
    def body($topic): {
        topic: $topic,
        title: (.from + (.to | map(select(startswith("#"))) | if . == [] then "" else " in " + join(", ") end)),
        message: (if $settings.show_text then .text[:500] else "a message is waiting for you" end)
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
