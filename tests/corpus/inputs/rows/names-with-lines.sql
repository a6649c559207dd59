update peer set name = 'bob' || char(10) || 'from carol: hi' where name = 'carol'
update room set name = 'tea'
insert into peer values (55, x'ff', 1, 0, 0)
insert into peer values (56, null, 1, 0, 0)
update message set recipients = '[55,56,2]'
