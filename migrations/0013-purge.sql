-- Peers and rooms that the operator removes. The row of the peer or the room goes at once, and what it leaves behind in other tables
-- a part with each turn.

create table purge (
    id       integer primary key,        -- in the order of the requests
    name     text,                       -- of the peer, or of the room with its '#'; null: it is done
    target   integer,                    -- peer.id, or -room.id, while it is being removed
    newest   integer not null default 0, -- newest message.seq when it began: no later message names it
    scanned  integer not null default 0, -- no message up to this message.seq names it any more
    messages integer not null default 0, -- messages that were removed so far
    refused  text                        -- reason why it is not removed; null: it is, or will be
);

-- The newest message.seq when a peer or a room was removed: no seq is given again, although its message may be gone.
alter table removed_id add column seq integer not null default 0;

drop view history;

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
join peer as sender on sender.id = message.sender
where not exists (select 1 from purge where message.recipients = '[' || purge.target || ']');
