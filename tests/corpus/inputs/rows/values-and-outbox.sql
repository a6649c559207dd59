update value set value = 'no json'
insert into value values (1, x'ff', null)
insert into outbox values (x'ff', null, 5)
insert into outbox values ('alice', 'bob', char(27) || '[2J')
insert into outbox (rowid, sender, recipients, text) values (9223372036854775807, 'a', '#tea', 'b')
insert into outbox_refused values (1, 2, 3, 4, 5)
insert into outbox_refused (rowid, at, reason) values (9223372036854775807, '', x'ff')
