//! Work on the database file outside the server: reading and searching the log, checking the file, and copying it. Owns how the file is
//! opened so that a running server is never disturbed; never writes what a server owns.

mod backup;
mod examination;
mod log_reader;
mod read_only;

pub use self::backup::{Backup, BackupError, BackupSummary, Unfinished};
pub use self::examination::{Finding, Fix, Severity, examine};
pub use self::log_reader::{LogLine, LogReader, ReadError, Selection};
pub use self::read_only::ReadOnlyError;
