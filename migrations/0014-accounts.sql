-- Accounts: names with a password. A name without a row here is free: anyone may log in by it, unless the configuration says otherwise.

create table account (
    peer integer primary key,            -- peer.id
    password text not null,              -- hash of the password with its salt and parameters: $argon2id$v=19$m=...
    made integer not null                -- when the password was set, in milliseconds since 1970, UTC
);

create trigger account_removed after delete on peer begin
    delete from account where peer = old.id;
end;
