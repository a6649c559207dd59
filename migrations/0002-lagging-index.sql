-- The index of the log follows it in large batches, and holds many messages in a row: a row for each message and recipient,
-- kept up with every turn, costs as much as all else together.
--
-- `inbox` and `peer.sent` hold what the log holds up to `indexed.seq`. The short tail behind that is in `message` alone, and
-- `unindexed` shows it. What the index lacks is added by the server, here all of it.

create table indexed (
    seq integer not null                -- one row: inbox and peer.sent hold every message up to this seq
);

insert into indexed values (0);

drop view waiting;
drop table inbox;

-- Which messages a peer has to get: an index of message.recipients.
create table inbox (
    recipient integer not null,         -- peer.id
    last      integer not null,         -- the last of `seqs`
    seqs      text    not null,         -- JSON array of message.seq, in order, behind those of the row before; some of those
                                        -- messages may have been removed
    primary key (recipient, last)
);

create view unindexed (recipient, seq, sender) as
select addressed.value, message.seq, message.sender
from message
join json_each(iif(json_valid(message.recipients), message.recipients, '[]')) as addressed
where message.seq > (select coalesce(max(seq), 0) from indexed);

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
join peer as sender on sender.id = message.sender;
