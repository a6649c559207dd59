update peer set cursor = 9223372036854775807 where name = 'alice'
