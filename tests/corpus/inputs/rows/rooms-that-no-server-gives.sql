update or ignore room set id = -1
update or ignore member set room = -1
insert into room (id, name, members, topic, floor) values (9223372036854775807, '#far', 5, 'x', 'y')
insert into room (id, name, members, topic, floor) values (0, '#zero', -5, x'00', -1)
insert into member values (9223372036854775807, 1, 'x')
insert into member values (-9223372036854775808, 1, 9223372036854775807)
