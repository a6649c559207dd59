-- The index of the log follows it in large batches: to keep it up with every message costs as much as all else together.
--
-- `inbox` and `peer.sent` hold what the log holds up to `indexed.seq`. The short tail behind that is in `message` alone, and
-- `unindexed` shows it as rows of `inbox`.

create table indexed (
    seq integer not null                -- one row: inbox and peer.sent hold every message up to this seq
);

insert into indexed select coalesce(max(seq), 0) from message;

create view unindexed (recipient, seq, sender) as
select addressed.value, message.seq, message.sender
from message
join json_each(iif(json_valid(message.recipients), message.recipients, '[]')) as addressed
where message.seq > (select coalesce(max(seq), 0) from indexed);

drop view waiting;

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
