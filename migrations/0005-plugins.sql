-- Plugins: how far those who observe have seen, what happened besides messages, and the values that they keep.

-- Who observes: a plugin, by its own name.
create table observer (
    peer  integer primary key,           -- peer.id
    seq   integer,                       -- it has seen every message up to this message.seq; null: it wants none
    event integer                        -- it has seen every event up to this event.id; null: it wants none
);

-- What happened to peers, as far as somebody observes it. What all of them have seen goes, a few rows at a time.
create table event (
    id     integer primary key autoincrement, -- in the order in which they happened; never given twice
    at     integer not null,             -- milliseconds since 1970, UTC; for people, it orders nothing
    kind   text    not null,             -- join: its first connection came; leave: its last went; delivered: its cursor moved
    peer   integer not null,             -- peer.id
    seq    integer not null,             -- message.seq of the newest message when it happened
    cursor integer                       -- delivered: peer.cursor then
);

-- Small things that a plugin keeps.
create table value (
    peer  integer not null,              -- peer.id
    key   text    not null,
    value text    not null,              -- JSON
    primary key (peer, key)
) without rowid;

create view events (id, at, kind, name, seq) as
select
    event.id,
    strftime('%Y-%m-%dT%H:%M:%fZ', event.at / 1000.0, 'unixepoch'),
    event.kind,
    peer.name,
    coalesce(event.cursor, event.seq)
from event
join peer on peer.id = event.peer;
