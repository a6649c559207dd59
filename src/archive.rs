//! Work on the database file outside the server: reading and searching the log, checking the file, copying it, and removing a peer or a
//! room. Owns how the file is opened so that a running server is never disturbed; never writes what a running server owns.

mod backup;
mod examination;
mod log_reader;
mod purge;
mod read_only;
mod server;

pub use self::backup::{Backup, BackupError, BackupSummary, Unfinished};
pub use self::examination::{Finding, Fix, Severity, examine};
pub use self::log_reader::{LogLine, LogReader, ReadError, Selection};
pub use self::purge::{PurgeError, PurgePlan, plan_purge, purge};
pub use self::read_only::ReadOnlyError;
pub use self::server::{SignalError, signal_reload};
