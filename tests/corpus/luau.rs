//! Any text as the body of a script's functions: the script is refused in one line that names it, or each call has an answer that its hook
//! allows, within all limits, or a failure. Owns these properties; never which texts are tried.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use holdline::limits::FAILURE_CHARS_MAX;
use holdline::plugin::{Host, Plugin, PluginKind, Script};
use tempfile::TempDir;

use crate::answers::{calls, check_answer, config};
use crate::words::check_shown;

/// Time for each call: endless ones are among the inputs.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Memory of the script.
const MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Checks the properties for these bytes.
pub(crate) fn check(input: &[u8]) {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| tempfile::tempdir().expect("a temporary directory can be created"));
    let path = place.path().join("test.luau");
    let mut script = b"function message(m)\n".to_vec();
    script.extend_from_slice(input);
    script.extend_from_slice(b"\nend\ncommand, login, logged = message, message, message\n");
    fs::write(&path, &script).expect("a file can be written");
    let mut config = config(PluginKind::Luau, &path);
    (config.timeout, config.memory_bytes_max) = (TIMEOUT, Some(MEMORY_BYTES_MAX));
    match Script::load(&config) {
        Err(refusal) => {
            let text = refusal.to_string();
            check_shown(&text);
            assert!(text.contains("test.luau"), "the refusal names no file: {text:?}");
            let chars_max = path.as_os_str().len() + FAILURE_CHARS_MAX + 2;
            assert!(text.chars().count() <= chars_max, "the refusal is too long: {text:?}");
        }
        Ok(script) => {
            drop(script.run(Host::dry(config.name.clone())));
            for call in calls() {
                check_answer(call.hook(), &smol::block_on(script.call(call)));
            }
            smol::block_on(script.stop());
        }
    }
}
