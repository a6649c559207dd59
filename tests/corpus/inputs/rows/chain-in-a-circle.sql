update message set previous = seq
update peer set sent = 3
