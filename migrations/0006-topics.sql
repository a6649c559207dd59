-- Topics of rooms, set by their members.

alter table room add column topic text;  -- null: none
