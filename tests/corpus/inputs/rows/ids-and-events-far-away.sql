insert into event values (9223372036854775807, 'x', 'party', 1, 'x', 'x')
insert into event values (-5, 0, 'join', 77, 1, null)
update sqlite_sequence set seq = 'x'
insert into sent_id values (9223372036854775807, 1, 'z', 'x', 'x', 'x')
insert into sent_id values (-9223372036854775808, 1, 'y', 9, 9, 9)
update observer set seq = 'x', event = 9223372036854775807
