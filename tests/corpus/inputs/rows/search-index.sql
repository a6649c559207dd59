update searched set seq = 9223372036854775807
insert into searched values ('x', 5)
insert into search (rowid, tokens) values (9223372036854775807, 'tea @1')
insert into search (rowid, tokens) values (-1, 'tea @1')
