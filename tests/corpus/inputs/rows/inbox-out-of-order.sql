update inbox set seqs = '[5,4,3,2,1,1,1]'
update peer set cursor = 0
