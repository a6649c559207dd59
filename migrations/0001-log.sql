-- The log of all messages, whom each is for, and how far each peer has read.
--
-- The views `history` and `waiting` are the interface for people: they keep their columns.
-- The tables behind them may change from one version to the next.

create table peer (
    id     integer primary key,         -- given by the server, never given twice
    name   text    not null unique,     -- as mapped by RFC 8265, UsernameCaseMapped
    seen   integer not null default 0,  -- 1 once somebody has logged in by this name
    cursor integer not null default 0,  -- every message for this peer up to this seq has been delivered
    sent   integer not null default 0   -- seq of the newest message that it sent; 0: none
);

create table message (
    seq        integer primary key,     -- the order of everything
    at         integer not null,        -- milliseconds since 1970, UTC; for people, it orders nothing
    sender     integer not null,        -- peer.id
    previous   integer not null,        -- seq of the message that its sender sent before; 0: none. An index of what one
                                        -- sent would cost as much as all else together; this costs next to nothing
    recipients text    not null,        -- JSON array of peer.id, as addressed
    text       text    not null
);

-- Which messages a peer has to get: an index of message.recipients.
create table inbox (
    recipient integer not null,         -- peer.id
    seq       integer not null,         -- message.seq
    sender    integer not null,         -- peer.id
    primary key (recipient, seq)
) without rowid;

create view history (seq, at, sender, recipients, text, waiting_for) as
select
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    (select coalesce(group_concat(name, ','), '') from (
        select peer.name as name
        from json_each(message.recipients) as addressed
        join peer on peer.id = addressed.value
        order by addressed.key)),
    replace(message.text, char(10), ' '),
    (select coalesce(group_concat(name, ','), '') from (
        select peer.name as name
        from json_each(message.recipients) as addressed
        join peer on peer.id = addressed.value
        where peer.cursor < message.seq
        order by addressed.key))
from message
join peer as sender on sender.id = message.sender;

create view waiting (recipient, seq, at, sender, text) as
select
    recipient.name,
    message.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'),
    sender.name,
    replace(message.text, char(10), ' ')
from peer as recipient
join inbox on inbox.recipient = recipient.id and inbox.seq > recipient.cursor
join message on message.seq = inbox.seq
join peer as sender on sender.id = message.sender;
