update message set recipients = 'x' where seq = 1
update message set recipients = '{}' where seq = 2
update message set recipients = '[-9223372036854775808,0,null,99]' where seq = 3
update message set recipients = null where seq = 4
update or ignore message set recipients = x'ff' where seq = 5
delete from inbox
update indexed set seq = 0
