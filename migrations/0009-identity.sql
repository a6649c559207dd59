-- Identity of the database: a `seq` means nothing in another one. Programs get it with their welcome, and compare it.

create table identity (
    database text not null, -- 32 random hexadecimal digits
    file text not null      -- the file for which they were made: a copy of the database gets others
); -- one row; none in a backup, which gets others, too
