delete from peer
delete from room
delete from indexed
delete from searched
