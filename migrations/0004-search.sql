-- Which messages hold which words, and who was part of each: for /search.
--
-- The server makes the words out of a text itself, the same with every version of SQLite: without case, and in scripts written
-- without blanks each character and each two in a row. So FTS5 is to take them apart at the blanks and no more. It keeps
-- no copy of a text, nor where in it a word stands: what that could tell is seen in `message`.

create virtual table search using fts5 (
    tokens,                             -- words; @ID for the sender and each peer.id addressed, #ID for each room.id
    content = '', contentless_delete = 1, detail = none, tokenize = "ascii tokenchars '@#'"
);

-- The server merges what it has added, a little with each step: FTS5 by itself does much at once, and all wait for it.
insert into search (search, rank) values ('automerge', 0);

-- What was removed is left out once it is so many percent of what would be merged for it.
insert into search (search, rank) values ('deletemerge', 40);

create table searched (
    seq   integer not null,             -- one row: search holds every message up to this seq,
    rules text    not null              -- if this is how the server makes words; if not, it makes search anew
);

insert into searched values (0, '');
