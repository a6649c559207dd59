//! The database file: the data directory, the schema with its migrations, and the tables that both users of the file read. Owns what
//! the server's thread (`store`) and the commands at a shell (`archive`) share; never starts a transaction by itself, and never
//! knows which of the two calls it.

pub(crate) mod array;
pub(crate) mod at_rest;
pub(crate) mod column;
pub(crate) mod directory;
pub(crate) mod identity;
pub(crate) mod inboxes;
pub(crate) mod index;
pub(crate) mod locks;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod names;
pub(crate) mod reach;
pub(crate) mod record;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod visibility;
pub(crate) mod words;
