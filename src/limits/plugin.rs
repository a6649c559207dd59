//! Limits of plugins: scripts, programs, and what they observe. Owns numbers only.

use super::traffic::{JSON_LINE_BYTES_MAX, LINE_BYTES_MAX, OUTBOX_BYTES_MAX};

/// Messages that `holdline plugin test` runs a plugin over, unless `--last` says otherwise.
pub const DRY_RUN_MESSAGES_DEFAULT: usize = 100;

/// Largest value of `--last` of `holdline plugin test`.
pub const DRY_RUN_MESSAGES_MAX: usize = 10_000;

/// Plugins that `plugins.toml` may list.
pub const PLUGINS_MAX: usize = 100;

/// Commands of all plugins together.
pub const COMMANDS_MAX: usize = 100;

/// Characters of the name of a command.
pub const COMMAND_CHARS_MAX: usize = 32;

/// Characters of a plugin command's line in `/help`.
pub const COMMAND_HELP_CHARS_MAX: usize = 200;

/// Names of offline recipients that a plugin gets with a message.
pub const AWAY_NAMES_MAX: usize = 256;

/// Bytes of a text in a plugin's reply.
pub const ANSWER_BYTES_MAX: usize = LINE_BYTES_MAX;

/// Milliseconds that a plugin may take for a reply, unless `timeout_ms` says otherwise.
pub const PLUGIN_TIMEOUT_MS_DEFAULT: u64 = 200;

/// Largest value of `timeout_ms`.
pub const PLUGIN_TIMEOUT_MS_MAX: u64 = 60_000;

/// Largest value of `tick_s`: a week.
pub const PLUGIN_TICK_S_MAX: u64 = 7 * 24 * 60 * 60;

/// Bytes of memory that a script may use, unless `memory_max` says otherwise.
pub const SCRIPT_MEMORY_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// Milliseconds that the server waits for a plugin to start.
pub const PLUGIN_START_MS_MAX: u64 = 5000;

/// Milliseconds that a plugin may take for its hook `stop`.
pub const PLUGIN_STOP_MS_MAX: u64 = 2000;

/// Milliseconds until a failed notification is repeated; doubles with each failure.
pub const PLUGIN_RETRY_MS_MIN: u64 = 100;

/// Longest time in milliseconds until a failed notification is repeated.
pub const PLUGIN_RETRY_MS_MAX: u64 = 1000;

/// Bytes that a message or reply to a plugin takes of its outbox, at least.
pub const SESSION_VALUE_BYTES_MIN: usize = 64;

/// Messages for a plugin that wait in memory: as many as an outbox holds, since each takes at least 64 bytes of it.
pub const PLUGIN_MAILS_MAX: usize = OUTBOX_BYTES_MAX / SESSION_VALUE_BYTES_MIN;

/// Messages of one connection that a plugin filters in one batch at first; grows while the plugin replies.
pub const FILTER_MESSAGES_MIN: usize = 16;

/// Messages of one connection that a plugin filters in one batch.
pub const FILTER_MESSAGES_MAX: usize = 256;

/// Lists of effects of deciding hooks that wait to be performed.
pub const EFFECTS_WAITING_MAX: usize = 256;

/// Bytes of a script's source.
pub const SCRIPT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the stack of a script's thread. Luau nests functions of its library up to 200 deep; unoptimised code needs nearly 1
/// MiB for that. Only the used part of a stack takes memory.
pub const SCRIPT_STACK_BYTES: usize = 4 * 1024 * 1024;

/// Milliseconds that the top level of a script may take, unless `timeout_ms` is longer.
pub const SCRIPT_LOAD_MS_MAX: u64 = 1000;

/// Batches of calls that wait for a script: as many that a client waits for, and as many others.
pub const SCRIPT_BATCHES_MAX: usize = 64;

/// Milliseconds that a script may need to end, beyond the timeout of its current call.
pub const SCRIPT_END_MS_MAX: u64 = 1000;

/// Bytes of a text times bytes of the pattern that a script searches in it. One step of the search may take that many
/// comparisons, which the time limit does not interrupt. The longest text may be searched for a pattern of the same length.
pub const SCRIPT_SEARCH_STEPS_MAX: usize = 64 * 1024 * 1024;

/// Elements that a script moves in a table at once; the time limit does not interrupt that either.
pub const SCRIPT_MOVED_ELEMENTS_MAX: usize = 1024 * 1024;

/// Bytes of the format in which a script writes a date; the time limit does not interrupt that either.
pub const SCRIPT_DATE_BYTES_MAX: usize = 256;

/// Lines that one call of a script may log; the rest is only counted.
pub const SCRIPT_LOG_LINES_MAX: u64 = 32;

/// Characters of the reason why a plugin failed.
pub const FAILURE_CHARS_MAX: usize = 500;

/// Bytes of a script's error that leave its VM.
pub const SCRIPT_ERROR_BYTES_MAX: usize = 4 * FAILURE_CHARS_MAX;

/// Bytes of the table that a script returns: as many as a program's answer may have.
pub const SCRIPT_ANSWER_BYTES_MAX: usize = JSON_LINE_BYTES_MAX;

/// Effects of one call of a plugin.
pub const EFFECTS_MAX: usize = 256;

/// Bytes of the effects of one call of a plugin.
pub const EFFECTS_BYTES_MAX: usize = 256 * 1024;

/// Values that a plugin may store.
pub const VALUES_MAX: usize = 1000;

/// Bytes of the key of a stored value.
pub const VALUE_KEY_BYTES_MAX: usize = 128;

/// Bytes of a stored value as JSON.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Tables within tables of a value that a script stores or returns.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Bytes of all stored values of a plugin.
pub const VALUES_BYTES_MAX: usize = 1024 * 1024;

/// Calls of a process in flight.
pub const PROCESS_CALLS_MAX: usize = 256;

/// Milliseconds until a process that has ended is restarted; doubles with each failure.
pub const PROCESS_RESTART_MS_MIN: u64 = 100;

/// Longest time in milliseconds until a process is restarted.
pub const PROCESS_RESTART_MS_MAX: u64 = 60_000;

/// Milliseconds that a process has to end after the request to stop, before it is killed.
pub const PROCESS_STOP_MS_MAX: u64 = 2000;

/// Milliseconds between two searches for what a process has left behind; doubles with each.
pub const PROCESS_SEARCH_MS_MIN: u64 = 1;

/// Longest time in milliseconds between two such searches.
pub const PROCESS_SEARCH_MS_MAX: u64 = 50;

/// Milliseconds between two attempts to wait for adopted processes while a program of a plugin must be waited for first.
pub const REAP_RETRY_MS: u64 = 10;

/// Seconds of running after which a process that ends counts as one that worked, and is restarted without a longer delay.
pub const PROCESS_STEADY_S_MIN: u64 = 60;

/// Seconds without a line after which a process with an open call counts as hung, and within which it must read its input.
pub const PROCESS_SILENCE_S_MAX: u64 = 60;

/// Lines of a process that are parsed before others have their turn: about a quarter of a millisecond.
pub const PROCESS_LINES_AT_ONCE_MAX: usize = 128;

/// Bytes of lines that wait to be written to a process, beyond which it gets no further calls; the last line may exceed them. As
/// many bytes are being written.
pub const PROCESS_UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// Bytes of unread replies after which a process that does not read them is killed; the last line may exceed them.
pub const PROCESS_UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a process's settings as JSON. The system allows an environment variable 128 KiB.
pub const PROCESS_SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Bytes at the start of a script in which the system finds its interpreter; execve(2).
pub const PROCESS_INTERPRETER_BYTES_MAX: u64 = 256;

/// Bytes of the names and values of a process's `env`.
pub const PROCESS_ENVIRONMENT_BYTES_MAX: usize = 64 * 1024;

/// Processes and threads of the user of a process, unless `processes_max` says otherwise and if the process has a user of its own.
pub const PROCESS_USER_PROCESSES_DEFAULT: u64 = 256;

/// Processes and threads of the user that the server and its processes share, unless `processes_max` says otherwise. A desktop has
/// up to two thousand.
pub const PROCESS_SHARED_PROCESSES_DEFAULT: u64 = 4096;

/// Bytes of one line of a process's standard error in the log; a longer line is cut.
pub const PROCESS_ERROR_LINE_BYTES_MAX: usize = 1024;

/// Lines of a process's standard error that are logged in a second; the rest is only counted.
pub const PROCESS_ERROR_LINES_PER_S_MAX: u64 = 20;

/// Bytes of one read of a process's standard error.
pub const PROCESS_ERROR_READ_BYTES: usize = 4 * 1024;

/// Milliseconds between two such reads while lines are left out.
pub const PROCESS_ERROR_PAUSE_MS: u64 = 1;

/// Failures of a plugin within [`PLUGIN_FAILURES_S`] after which it is quarantined.
pub const PLUGIN_FAILURES_MAX: usize = 10;

/// Seconds in which the failures of a plugin are counted.
pub const PLUGIN_FAILURES_S: u64 = 600;

/// Attempts to notify a plugin of the same event.
pub const OBSERVATION_ATTEMPTS_MAX: u32 = 3;

/// Events that a plugin is notified of together.
pub const OBSERVATIONS_MAX: usize = 64;

/// Messages of an observer's own that one page skips.
pub const OBSERVED_SKIPPED_MAX: usize = 1024;

/// Observers that one turn reads for.
pub const TURN_OBSERVERS_MAX: usize = 8;

/// Events that are stored for plugins that have not seen them.
pub const EVENTS_MAX: usize = 100_000;

/// Events that one turn removes once all plugins have seen them, besides two for each event that it adds.
pub const EVENTS_REMOVED_MAX: usize = 256;
