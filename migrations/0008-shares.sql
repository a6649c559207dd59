-- Shares of limits: who takes how much of what all share. And removal of rooms and peers by the operator.

-- Where the latest login of a peer came from: an IPv4 address, an IPv6 /64 prefix, or 'operator' for plugins and rows of
-- outbox. null: not known.
alter table peer add column source text;

alter table room add column creator integer; -- peer.id of who created it; null: not known

-- Highest ids that were removed: an id is never given again, because messages may still name it.
-- Higher ones than 1e18 were written by hand.
create table removed_id (
    peer integer not null,               -- one row: the highest peer.id,
    room integer not null                -- and the highest room.id
);

insert into removed_id values (0, 0);

create trigger peer_removed after delete on peer begin
    update removed_id set peer = max(peer, old.id) where old.id <= 1e18;
end;

create trigger room_removed after delete on room begin
    update removed_id set room = max(room, old.id) where old.id <= 1e18;
end;

-- The ids of each sender, the oldest first: those of a sender with too many are forgotten first.
create index sent_id_from on sent_id (sender);
