insert into message values (9223372036854775807, 0, 1, 0, '[1,2,3]', 'far')
insert into message values (-9223372036854775808, 0, 1, 0, '[1,2,3]', 'near')
update inbox set seqs = '[1,2,9223372036854775807]'
