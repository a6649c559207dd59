-- Ids of messages expire by the time for which the server runs: the wall clock may be set by decades.

create table running (
    seconds integer not null             -- one row: how long servers have run with this database
);

insert into running (rowid, seconds) values (1, 0);

alter table sent_id add column ran integer not null default 0; -- running.seconds when it was accepted
