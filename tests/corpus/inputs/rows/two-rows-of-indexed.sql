insert into indexed values (3)
insert into indexed values ('x')
