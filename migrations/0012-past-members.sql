-- Memberships that ended: a member who joins a room again sees what it could see before it left.

create table past_member (
    peer   integer not null,             -- peer.id
    left   integer not null,             -- seq of the newest message when it left
    room   integer not null,             -- room.id
    joined integer not null,             -- seq of the newest message when it joined: it saw what came after that, up to `left`
    primary key (peer, left, room)
) without rowid;
