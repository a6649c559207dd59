-- The floor of a room: its messages up to there are no longer replayed to members who lack them, as more than `room_waiting_max` newer ones
-- follow. They stay in the history. So a member who never returns holds back neither retention nor a login.

alter table room add column floor integer not null default 0; -- message.seq; 0: every message is replayed

drop view history;
drop view waiting;

create view history (seq, at, sender, recipients, text, waiting_for) as
select
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    (select coalesce(group_concat(name, ','), '') from (
        select coalesce(peer.name, room.name) as name
        from json_each(message.recipients) as addressed
        left join peer on peer.id = addressed.value
        left join room on room.id = -addressed.value
        order by addressed.key)),
    replace(message.text, char(10), ' '),
    (select coalesce(group_concat(name, ','), '') from (
        select peer.name as name
        from (
            select addressed.key as place, addressed.value as id
            from json_each(message.recipients) as addressed
            where addressed.value > 0
            union all
            select addressed.key, member.peer
            from json_each(message.recipients) as addressed
            join room on room.id = -addressed.value and room.floor < message.seq
            join member on member.room = room.id
            where member.joined < message.seq and member.peer <> message.sender
        ) as reached
        join peer on peer.id = reached.id
        where peer.cursor < message.seq
        group by peer.id
        order by min(reached.place), peer.name))
from message
join peer as sender on sender.id = message.sender;

-- How a message reached one who is in a room that it was sent into: of the places it was sent to, the peer itself counts
-- before all rooms, and the first room that still replays it before the others.
create view waiting (recipient, seq, at, sender, text) as
select
    recipient.name,
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    replace(message.text, char(10), ' ')
from peer as recipient
join inbox on inbox.recipient = recipient.id and inbox.last > recipient.cursor
join json_each(inbox.seqs) as entry on entry.value > recipient.cursor
join message on message.seq = entry.value
join peer as sender on sender.id = message.sender
union all
select
    recipient.name,
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    replace(message.text, char(10), ' ')
from unindexed
join peer as recipient on recipient.id = unindexed.recipient and recipient.cursor < unindexed.seq
join message on message.seq = unindexed.seq
join peer as sender on sender.id = message.sender
union all
select
    recipient.name,
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    replace(message.text, char(10), ' ')
from peer as recipient
join member on member.peer = recipient.id
join room on room.id = member.room
join inbox on inbox.recipient = -member.room and inbox.last > max(recipient.cursor, member.joined, room.floor)
join json_each(inbox.seqs) as entry on entry.value > max(recipient.cursor, member.joined, room.floor)
join message on message.seq = entry.value and message.sender <> recipient.id
join peer as sender on sender.id = message.sender
where member.room = (
    select -addressed.value
    from json_each(message.recipients) as addressed
    left join (member as other join room as reached on reached.id = other.room)
        on other.room = -addressed.value and other.peer = recipient.id
        and max(other.joined, reached.floor) < message.seq
    where addressed.value = recipient.id or other.peer is not null
    order by addressed.value < 0, addressed.key limit 1)
union all
select
    recipient.name,
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    replace(message.text, char(10), ' ')
from unindexed
join room on room.id = -unindexed.recipient and room.floor < unindexed.seq
join member on member.room = room.id and member.joined < unindexed.seq
join peer as recipient on recipient.id = member.peer and recipient.cursor < unindexed.seq
join message on message.seq = unindexed.seq and message.sender <> recipient.id
join peer as sender on sender.id = message.sender
where member.room = (
    select -addressed.value
    from json_each(message.recipients) as addressed
    left join (member as other join room as reached on reached.id = other.room)
        on other.room = -addressed.value and other.peer = recipient.id
        and max(other.joined, reached.floor) < message.seq
    where addressed.value = recipient.id or other.peer is not null
    order by addressed.value < 0, addressed.key limit 1);
