//! The layers of the source: a file imports only from its own layer and from the layers below, and no files import each other in
//! a cycle, also inside one module. Owns the order of the layers; reads the text of `src/`, and runs nothing.

mod check;
mod imports;
mod tokens;

use std::path::Path;

use self::check::{cycles, upward_imports};
use self::imports::Modules;

/// Modules of the source, the lowest layer first. A module in a module, such as `protocol::request`, may be in a layer of its own.
/// A module that is not listed fails the test.
const LAYERS: &[&str] = &[
    // The foundation: plain values, and no knowledge of a chat.
    "limits",
    "memory",
    "message",
    "source",
    "shares",
    "outage_log",
    "backoff",
    "timeout",
    "tcp_state",
    "trust",
    "fingerprint",
    "password",
    // JSON frames as types, for the server and for its clients.
    "wire",
    // Bytes from and to requests, replies and messages. No I/O.
    "protocol",
    // Flags and files, checked once; a plugin may not take the name of a command.
    "config",
    // The server's certificate for TLS.
    "certificate",
    // The tables. Who is online is not known here, nor above.
    "database",
    // The thread that writes them while a server runs.
    "store",
    // Work on the file outside of the server.
    "archive",
    // Who is online, and what each gets. Neither sockets nor SQL.
    "broker",
    // Passwords and their hashes.
    "auth",
    // Code of other people, between the broker and its clients.
    "plugin",
    // Streams of bytes to clients.
    "transport",
    // One client on a stream.
    "connection",
    // Listening, and the order in which everything starts and stops.
    "server",
    // The other side of the wire: it shares no more than the foundation with the server.
    "client",
    // The library's table of contents, and the program: arguments to subcommands.
    "lib",
    "cli",
    "main",
    // The broker, run by a scheduler. Only tests compile it.
    "simulation",
];

fn source() -> Modules {
    Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn every_module_is_in_a_layer_and_every_layer_has_a_module() {
    let modules = source();
    let paths: Vec<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    let homeless: Vec<&&str> = paths.iter().filter(|path| check::layer(LAYERS, path).is_none()).collect();
    assert!(homeless.is_empty(), "add these to LAYERS: {homeless:?}");
    let empty: Vec<&&str> = LAYERS.iter().filter(|layer| !paths.contains(layer)).collect();
    assert!(empty.is_empty(), "remove these from LAYERS: {empty:?}");
}

#[test]
fn no_file_imports_from_a_layer_above_its_own() {
    let upward = upward_imports(LAYERS, &source().imports());
    assert!(upward.is_empty(), "{} imports point upward:\n{}", upward.len(), upward.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let cycles = cycles(&source().imports());
    assert!(cycles.is_empty(), "files import each other:\n{}", cycles.join("\n"));
}

#[test]
fn no_files_of_the_benchmarks_import_each_other_in_a_cycle() {
    for benchmark in ["chat", "instructions"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(benchmark);
        let cycles: Vec<String> =
            cycles(&Modules::read(&directory).imports()).iter().map(ToString::to_string).collect();
        assert!(cycles.is_empty(), "files import each other:\n{}", cycles.join("\n"));
    }
}

/// Writes a small crate and returns what is wrong with its imports.
fn check_source(files: &[(&str, &str)], layers: &[&str]) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().expect("a temporary directory can be created");
    for (name, text) in files.iter().chain([&("main.rs", "")]) {
        let file = directory.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a file is in a directory")).expect("a directory can be created");
        std::fs::write(file, text).expect("a file can be written");
    }
    let imports = Modules::read(directory.path()).imports();
    (upward_imports(layers, &imports), cycles(&imports))
}

#[test]
fn an_upward_import_is_found_in_each_form_of_a_path() {
    let lib = ("lib.rs", "mod low; mod high;");
    let high = ("high.rs", "pub mod part; pub use self::part::Part;");
    let part = ("high/part.rs", "pub struct Part;");
    let forms = [
        ("use crate::high::Part;", "crate::high::Part"),
        ("use super::high::{self, part::Part as Other};", "super::high::part::Part"),
        ("fn f() -> crate::high::part::Part { todo!() }", "crate::high::part::Part"),
        ("use crate::high; const P: high::Part = high::Part;", "high::Part"),
    ];
    for (low, path) in forms {
        let (upward, cycles) = check_source(&[lib, high, part, ("low.rs", low)], &["low", "high", "lib", "main"]);
        assert_eq!(upward, [format!("low imports {path} from high::part, a layer above (line 1)")]);
        assert_eq!(cycles, [""; 0]);
    }
}

#[test]
fn a_cycle_between_the_files_of_one_module_is_found() {
    let files = [
        ("lib.rs", "mod chat;"),
        ("chat.rs", "mod state;\nmod send;\npub use self::state::State;\nfn run() {\n    send::send();\n}"),
        ("chat/state.rs", "use super::send::Sent;\npub struct State(Sent);"),
        ("chat/send.rs", "use super::State;\npub struct Sent;"),
    ];
    let (upward, cycles) = check_source(&files, &["chat", "lib", "main"]);
    assert_eq!(upward, [""; 0]);
    let expected = "chat::send imports super::State from chat::state (line 1)\n\
                    chat::state imports super::send::Sent from chat::send (line 1)\n";
    assert_eq!(cycles, [expected]);
}

#[test]
fn comments_strings_tests_and_mere_reexports_are_no_imports() {
    let files = [
        ("lib.rs", "mod low; mod high;"),
        ("high.rs", "mod part;\npub use self::part::Part;\npub struct High;"),
        ("high/part.rs", "use super::High;\npub struct Part;"),
        (
            "low.rs",
            r##"
            //! See [`crate::high::High`]. /* use crate::high::High; */
            const A: &str = "use crate::high::High;";
            const B: &str = r#"crate::high::High "quoted" "#;
            const C: char = '"';
            fn f<'a>(x: &'a str) -> &'a str { x }
            #[cfg(test)]
            mod tests { use super::*; use crate::high::High; }
            "##,
        ),
    ];
    assert_eq!(check_source(&files, &["low", "high", "lib", "main"]), (Vec::new(), Vec::new()));
}
