delete from inbox
update indexed set seq = 0
update message set sender = 77 where seq = 2
update message set sender = -3 where seq = 3
update message set sender = 'x' where seq = 4
