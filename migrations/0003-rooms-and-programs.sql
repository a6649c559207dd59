-- Rooms, ids of programs' messages, and a table that sends what is written into it.
--
-- A room is a recipient as a peer is: in message.recipients and inbox.recipient, a negative number is -room.id.

create table room (
    id      integer primary key,         -- given by the server, never given twice
    name    text    not null unique,     -- with its '#'
    members integer not null default 0   -- how many rows of member it has
);

-- Who is in which room. A message in a room is one row, however many they are.
create table member (
    room   integer not null,             -- room.id
    peer   integer not null,             -- peer.id
    joined integer not null,             -- seq of the newest message when it joined: what came after that is for it
    primary key (room, peer)
) without rowid;

create index member_of on member (peer, joined);

-- Ids that programs gave their messages, so that none is sent twice. The oldest are forgotten.
create table sent_id (
    number      integer primary key,     -- in the order in which they were accepted, without a gap
    sender      integer not null,        -- peer.id
    id          text    not null,
    seq         integer not null,        -- message.seq
    at          integer not null,        -- message.at, which may be removed earlier
    fingerprint integer not null         -- a hash of the destinations and the text: another message is told from the same one
);

create unique index sent_id_of on sent_id (sender, id);

-- What is inserted here is sent: insert into outbox values ('backup', '#home, bob', 'done').
-- The running server takes a row out in the transaction that logs its message.
create table outbox (
    sender     text,
    recipients text,
    text       text
);

-- What could not be sent, and why.
create table outbox_refused (
    at         text not null,            -- ISO-8601, UTC
    sender     text,
    recipients text,
    text       text,
    reason     text not null
);

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
            join member on member.room = -addressed.value
            where member.joined < message.seq and member.peer <> message.sender
        ) as reached
        join peer on peer.id = reached.id
        where peer.cursor < message.seq
        group by peer.id
        order by min(reached.place), peer.name))
from message
join peer as sender on sender.id = message.sender;

-- How a message reached one who is in a room that it was sent into: of the places it was sent to, the peer itself counts
-- before all rooms, and the first room before the others.
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
join inbox on inbox.recipient = -member.room and inbox.last > max(recipient.cursor, member.joined)
join json_each(inbox.seqs) as entry on entry.value > max(recipient.cursor, member.joined)
join message on message.seq = entry.value and message.sender <> recipient.id
join peer as sender on sender.id = message.sender
where member.room = (
    select -addressed.value
    from json_each(message.recipients) as addressed
    left join member as other
        on other.room = -addressed.value and other.peer = recipient.id and other.joined < message.seq
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
join member on member.room = -unindexed.recipient and member.joined < unindexed.seq
join peer as recipient on recipient.id = member.peer and recipient.cursor < unindexed.seq
join message on message.seq = unindexed.seq and message.sender <> recipient.id
join peer as sender on sender.id = message.sender
where member.room = (
    select -addressed.value
    from json_each(message.recipients) as addressed
    left join member as other
        on other.room = -addressed.value and other.peer = recipient.id and other.joined < message.seq
    where addressed.value = recipient.id or other.peer is not null
    order by addressed.value < 0, addressed.key limit 1);
