//! Plain lines: every rule of the protocol that does not concern rooms, accounts and search, over real sockets. Owns
//! what is sent to clients; persistence is in `keep.rs`.

mod support;

use support::{TestClient, TestServer, chat, eventually, is_notice, messages};

/// Maximum length of a line in the protocol, without its newline.
const LINE_BYTES_MAX: usize = 8192;

/// Maximum length of a Telnet subnegotiation in the protocol.
const SUBNEGOTIATION_BYTES_MAX: usize = 1024;

// Names

#[test]
fn names_of_any_script_log_in() {
    let server = TestServer::start();
    for name in ["alice", "7of9", "a-b_c.d", "jürgen", "мария", "日本", "דוד", "नमस्ते", &"x".repeat(32), &"é".repeat(32)]
    {
        let mut client = TestClient::login(&server, name);
        client.send(&format!("{name}: hi"));
        client.expect(&format!("from {name}: hi"));
        client.quit();
    }
}

#[test]
fn name_with_a_second_dot_above_may_not_be_new() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send("İpek");
    let error = client.expect_error("bad_name");
    assert!(
        error.contains("contains U+0307 above a letter with a dot") && error.ends_with("; not logged in, try again"),
        "{error}"
    );
    let mut alice = TestClient::login(&server, "ipek");
    for (line, end) in [
        ("İpek: hi", "; not sent"),
        ("ipek, i\u{307}pek: hi", "; not sent"),
        ("/join #İ", "; not joined"),
        ("/history i\u{307}pek", "; nothing is shown"),
    ] {
        alice.send(line);
        let error = alice.expect_error("bad_name");
        assert!(error.contains("U+0307") && error.ends_with(end), "{line} → {error}");
    }
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from message"), "0");
}

#[test]
fn name_in_use_keeps_working_if_it_may_not_be_new() {
    let mut server = TestServer::start();
    let mut old = TestClient::login(&server, "old");
    old.send("/join #old");
    old.send("old: note");
    old.quit();
    server.terminate();
    server.sqlite_write("update peer set name = 'i' || char(775) || 'pek'");
    server.sqlite_write("update room set name = '#i' || char(775)");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("İpek, alice: hi");
    alice.expect("from alice: hi");
    alice.send("/join #İ");
    alice.ping();
    for name in ["İpek", "i\u{307}pek"] {
        let mut client = TestClient::login(&server, name);
        if name == "İpek" {
            client.expect("from alice: hi");
        }
        client.send("#i\u{307}: in the room");
        client.quit();
        alice.expect("from i\u{307}pek in #i\u{307}: in the room");
    }
    TestClient::login(&server, "ipek").expect_nothing();
}

#[test]
fn bad_name_is_refused_and_may_be_tried_again() {
    let server = TestServer::start();
    let too_long = "x".repeat(33);
    let bad = [
        "-bob",
        "_bob",
        ".bob",
        "bob!",
        "bob,",
        "b@b",
        "/who",
        "#kitchen",
        "bob:",
        "b/b",
        "❤",
        "a\u{7}b",
        "\u{feff}bob",
        &too_long,
    ];
    for name in bad {
        let mut client = TestClient::connect(&server);
        client.send(name);
        client.expect_error("bad_name");
        client.log_in("bob");
        client.expect_nothing();
    }
}

#[test]
fn message_before_the_login_is_refused() {
    chat(
        &TestServer::start(),
        "
        alice > bob: hello
        alice ! bad_name
        alice > alice
        alice * alice
        ",
    );
}

#[test]
fn names_are_normalized_everywhere() {
    chat(
        &TestServer::start(),
        "
        alice  > ＡＬＩＣＥ
        alice  * alice
        josé   > Jose\u{301}
        josé   * josé
        alice  > JOSÉ: hi
        josé   < from alice: hi
        josé   > aLiCe, ALICE, alice: once
        alice  < from josé: once
        ",
    );
}

#[test]
fn length_of_a_name_is_counted_after_normalization() {
    let server = TestServer::start();
    let mut client = TestClient::login(&server, &"e\u{301}".repeat(32));
    client.send(&format!("{}: hi", "É".repeat(32)));
    client.expect(&format!("from {}: hi", "é".repeat(32)));
}

#[test]
fn blanks_around_a_name_are_trimmed_at_login() {
    chat(
        &TestServer::start(),
        "
        alice >  \t \u{3000}Alice\u{2003}
        alice * alice
        alice > alice: me
        alice < from alice: me
        ",
    );
}

// Login

#[test]
fn password_for_a_name_without_one_is_refused() {
    chat(
        &TestServer::start(),
        "
        alice > alice secret
        alice ! bad_password
        alice > alice\u{3000}secret
        alice ! bad_password
        alice > alice
        alice * alice
        bob   > bob
        alice > bob: hi
        bob   < from alice: hi
        ",
    );
}

#[test]
fn third_refused_password_closes_the_connection() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    for _ in 0..3 {
        client.send("alice secret");
        client.expect_error("bad_password");
    }
    assert!(messages(&client.expect_closed()).is_empty());
    TestClient::login(&server, "alice").expect_nothing();
}

#[test]
fn client_that_is_not_logged_in_is_not_online() {
    let server = TestServer::start();
    let _silent = TestClient::connect(&server);
    let mut refused = TestClient::connect(&server);
    refused.send("mallory secret");
    refused.expect_error("bad_password");
    let who = TestClient::login(&server, "alice").who();
    assert!(who.contains(&"alice".to_owned()) && !who.contains(&"mallory".to_owned()), "{who:?}");
}

#[test]
fn invalid_first_line_may_be_tried_again() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send_bytes(b"al\xc3\x28ice\n");
    client.expect_error("not_utf8");
    client.send(&"x".repeat(LINE_BYTES_MAX + 1));
    client.expect_error("too_long");
    client.log_in("alice");
    client.expect_nothing();
}

// Other protocols

#[test]
fn unsupported_protocol_is_refused_and_closed() {
    let server = TestServer::start();
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    let requests =
        methods.map(|method| format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\nalice\nbob: hi\n").into_bytes());
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\nalice\nbob: hi\n".to_vec();
    for first in requests.into_iter().chain([tls]) {
        let mut client = TestClient::connect(&server);
        client.send_bytes(&first);
        let answer = client.read_to_end();
        let greeted = answer.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"* "));
        assert!(!greeted, "{} was answered {}", first.escape_ascii(), answer.escape_ascii());
    }
    TestClient::login(&server, "bob").expect_nothing();
    assert_eq!(server.sqlite("select count(*) from history"), "0");
}

#[test]
fn http_method_in_pieces_is_detected() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    for byte in b"GET " {
        client.send_bytes(&[*byte]);
    }
    let answer = client.read_to_end();
    assert!(!answer.starts_with(b"* "), "{}", answer.escape_ascii());
}

#[test]
fn name_may_begin_like_an_http_method() {
    let server = TestServer::start();
    for name in ["GET", "Putin", "POSTMAN", "G", "TRACE-1"] {
        let mut client = TestClient::login(&server, name);
        client.send(&format!("{name}: hi"));
        client.expect(&format!("from {}: hi", name.to_lowercase()));
        client.quit();
    }
}

// Messages

#[test]
fn the_first_colon_ends_the_list_and_blanks_around_are_trimmed() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        bob   > bob
        carol > carol
        alice > bob: at 12:30: lunch
        bob   < from alice: at 12:30: lunch
        alice > bob:close
        bob   < from alice: close
        alice > \u{2003} bob\t, \u{3000}carol :  \u{a0} far \u{2028} \u{85}
        bob   < from alice: far
        carol < from alice: far
        alice > bob: two  blanks  stay
        bob   < from alice: two  blanks  stay
        ",
    );
}

#[test]
fn recipient_named_twice_gets_the_message_once() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        bob   > bob
        alice > bob, alice, BOB,bob , Alice: once
        bob   < from alice: once
        alice < from alice: once
        ",
    );
}

#[test]
fn sending_to_oneself_works() {
    chat(
        &TestServer::start(),
        "
        phone  > alice
        laptop > alice
        phone  > alice: a note
        phone  < from alice: a note
        laptop < from alice: a note
        ",
    );
}

#[test]
fn unknown_name_may_be_written_to_and_the_sender_is_notified() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        alice > nobody-yet: hi
        alice * nobody-yet
        nobody-yet > Nobody-Yet
        nobody-yet < from alice: hi
        ",
    );
}

#[test]
fn plain_clients_get_no_presence() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: hi");
    assert_eq!(alice.ping(), Vec::<String>::new());
    bob.expect("from alice: hi");
    assert_eq!(bob.ping(), Vec::<String>::new());
}

#[test]
fn line_with_a_mistake_reaches_no_recipient() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for (line, code) in [
        ("no colon here", "bad_request"),
        ("bob", "bad_request"),
        (": hi", "bad_name"),
        ("  : hi", "bad_name"),
        ("bob,: hi", "bad_name"),
        (", bob: hi", "bad_name"),
        ("bob, , alice: hi", "bad_name"),
        ("bob, -x: hi", "bad_name"),
        ("bob, b b: hi", "bad_name"),
        ("bob, kitchen#: hi", "bad_name"),
        ("bob, #: hi", "bad_name"),
        ("bob:", "empty"),
        ("bob: ", "empty"),
        ("bob, alice: \t\u{3000}\u{a0}", "empty"),
        ("bob, #kitchen: hi", "not_a_member"),
    ] {
        alice.send(line);
        let answer = alice.expect_line();
        assert!(answer.starts_with(&format!("! {code}: ")), "`{line}` was answered `{answer}`");
    }
    alice.expect_nothing();
    bob.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from history"), "0");
}

#[test]
fn error_is_answered_in_order_and_the_connection_continues() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        bob   > bob
        alice > bob: one
        alice > no colon
        alice ! bad_request
        alice > /dance
        alice ! unknown_command
        alice > bob: two
        bob   < from alice: one
        bob   < from alice: two
        ",
    );
}

#[test]
fn replies_come_in_the_order_of_the_lines() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(b"/ping a\nnonsense\n/ping b\n/nonsense\nbob:\n/ping c\n");
    let prefixes = ["* pong a", "! bad_request: ", "* pong b", "! unknown_command: ", "! empty: ", "* pong c"];
    for prefix in prefixes {
        let line = alice.expect_line();
        assert!(line.starts_with(prefix), "`{line}` came where `{prefix}` was due");
    }
}

// Control characters

#[test]
fn control_characters_are_replaced_except_tabs() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        bob   > bob
        alice > bob: \u{1b}[31mred\u{1b}[0m\u{7}
        bob   < from alice: \u{fffd}[31mred\u{fffd}[0m\u{fffd}
        alice > bob: a\tb\0c\u{7f}d\u{8}e\u{b}f\u{c}g
        bob   < from alice: a\tb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g
        alice > bob: C1\u{80}and\u{85}too\u{9b}end
        bob   < from alice: C1\u{fffd}and\u{fffd}too\u{fffd}end
        alice > bob: \u{85}\u{b}\u{c}trimmed first\u{85}
        bob   < from alice: trimmed first
        alice > bob: no\u{a0}control\u{3000}here\u{200d}
        bob   < from alice: no\u{a0}control\u{3000}here\u{200d}
        ",
    );
}

#[test]
fn carriage_return_ends_a_line_only_before_a_newline() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice\r");
    alice.send_bytes(b"alice: over\rwritten\r\n");
    alice.expect("from alice: over\u{fffd}written");
}

#[test]
fn stored_text_has_no_control_characters() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob:  \u{1b}]0;title\u{7} ");
    alice.ping();
    assert_eq!(server.sqlite("select text from history"), "\u{fffd}]0;title\u{fffd}");
}

// Lines

#[test]
fn line_of_the_maximum_length_is_sent() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let longest = "x".repeat(LINE_BYTES_MAX - "alice: ".len());
    for end in ["", "\r"] {
        alice.send(&format!("alice: {longest}{end}"));
        alice.expect(&format!("from alice: {longest}"));
    }
    // A replaced control character takes three bytes instead of one: the limit is the line's, not the text's.
    alice.send(&format!("alice: {}", "\u{1}".repeat(LINE_BYTES_MAX - "alice: ".len())));
    alice.expect(&format!("from alice: {}", "\u{fffd}".repeat(LINE_BYTES_MAX - "alice: ".len())));
    alice.expect_nothing();
}

#[test]
fn too_long_line_is_refused_and_the_next_one_is_sent() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for bytes in [LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX, 1024 * 1024] {
        let text = "x".repeat(bytes - "bob: ".len());
        alice.send_bytes(format!("bob: before\nbob: {text}\nbob: behind\n/ping\n").as_bytes());
        alice.expect_error("too_long");
        assert_eq!(alice.expect_line(), "* pong");
        bob.expect("from alice: before");
        bob.expect("from alice: behind");
    }
    alice.expect_nothing();
    bob.expect_nothing();
}

#[test]
fn too_long_line_is_refused_before_its_end() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send_bytes(format!("alice\nalice: {}", "x".repeat(100_000)).as_bytes());
    client.shutdown_write();
    let lines = client.expect_closed();
    let read = messages(&lines);
    assert!(read.len() == 1 && read[0].starts_with("! too_long: "), "{read:?}");
}

#[test]
fn bytes_that_are_not_utf_8_are_answered_and_the_next_line_is_sent() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let bad: [&[u8]; 7] =
        [b"\xc3\x28", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xffa"];
    for bytes in bad {
        alice.send_bytes(&[b"alice: ", bytes, b"\n"].concat());
        alice.expect_error("not_utf8");
        alice.send("alice: €");
        alice.expect("from alice: €");
    }
    alice.send_bytes(b"/ping \xfe\n");
    alice.expect_error("not_utf8");
    alice.expect_nothing();
}

#[test]
fn blank_lines_do_nothing() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send_bytes("\n\r\n  \t\r\n\u{3000}\n\u{2028}\n".as_bytes());
    client.log_in("alice");
    client.send_bytes("\n\r\n  \t\r\n\u{3000}\n\u{a0}\u{85}\r\n".as_bytes());
    assert_eq!(client.ping(), Vec::<String>::new());
}

#[test]
fn last_line_without_a_newline_counts() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(b"bob: one\nbob: two");
    alice.shutdown_write();
    bob.expect("from alice: one");
    bob.expect("from alice: two");
    assert!(messages(&alice.expect_closed()).is_empty());
}

#[test]
fn login_without_a_newline_counts() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.ping();
    let mut bob = TestClient::connect(&server);
    bob.send_bytes(b"bob");
    bob.shutdown_write();
    assert_eq!(messages(&bob.expect_closed()), ["from alice: hi"]);
}

#[test]
fn unfinished_line_is_dropped_on_a_reset() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(b"bob: whole\n/ping\nbob: half");
    assert_eq!(alice.expect_line(), "* pong");
    alice.reset();
    eventually("alice is offline", || !bob.is_online("alice"));
    assert_eq!(server.sqlite("select text from history"), "whole");
}

#[test]
fn lines_may_be_cut_anywhere() {
    let server = TestServer::start();
    let session = |name: &str| {
        let telnet: &[u8] = b"\xff\xfb\x01\xff\xfa\x18\x00xterm\xff\xf0";
        [
            name.as_bytes(),
            b"\r\n",
            name.as_bytes(),
            ": grüße".as_bytes(),
            telnet,
            " aus 日本\r\n\nx\n/ping 1".as_bytes(),
        ]
        .concat()
    };
    let mut other = TestClient::login(&server, "other");
    for cut in 1..session("cut00").len() {
        let name = format!("cut{cut:02}");
        let bytes = session(&name);
        let mut client = TestClient::connect(&server);
        client.send_bytes(&bytes[..cut]);
        // When it answers another client, the server has read the first part.
        other.ping();
        client.send_bytes(&bytes[cut..]);
        client.shutdown_write();
        check_cut_session(&name, &client.expect_closed());
    }
}

#[test]
fn lines_may_come_byte_by_byte() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    for byte in "bytes\r\nbytes: grüße aus 日本\r\nx\n/ping 1\n".as_bytes() {
        client.send_bytes(&[*byte]);
    }
    client.shutdown_write();
    check_cut_session("bytes", &client.expect_closed());
}

/// Lines that a session reads that sends itself a message, makes a mistake and pings.
#[track_caller]
fn check_cut_session(name: &str, lines: &[String]) {
    assert!(is_notice(&lines[0]) && lines[0].contains(name), "{lines:?}");
    let read = messages(lines);
    assert_eq!(read.len(), 2, "{lines:?}");
    assert!(read.contains(&&*format!("from {name}: grüße aus 日本")), "{lines:?}");
    assert!(read.iter().any(|line| line.starts_with("! bad_request: ")), "{lines:?}");
    assert!(lines.contains(&"* pong 1".to_owned()), "{lines:?}");
}

// Telnet

#[test]
fn telnet_negotiation_is_skipped() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send_bytes(b"\xff\xfd\x03\xff\xfb\x18\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0alice\r\n");
    client.expect_notice("alice");
    let cases: [&[u8]; 8] = [
        b"alice: a\xff\xfb\x01b\n",
        b"alice: a\xff\xf1b\n",
        b"alice: a\xff\xffb\n",
        b"al\xff\xfe\x22ice\xff\xf9: ab\n",
        // The option may be any byte: a newline, the byte 255, the beginning of a UTF-8 sequence.
        b"alice: a\xff\xfd\nb\n",
        b"alice: a\xff\xfc\xffb\n",
        b"alice: a\xff\xfb\xc3b\n",
        b"alice: a\xff\xfa\x18\x00x\xff\xffy\xff\xf0b\n",
    ];
    for bytes in cases {
        client.send_bytes(bytes);
        let line = client.expect_line();
        assert_eq!(line, "from alice: ab", "for {}", bytes.escape_ascii());
    }
}

#[test]
fn line_with_only_telnet_negotiation_is_empty() {
    let server = TestServer::start();
    let mut client = TestClient::connect(&server);
    client.send_bytes(b"\xff\xfb\x01\r\n\xff\xf1\n");
    client.log_in("alice");
    client.send_bytes(b" \xff\xfb\x01 \r\n");
    assert_eq!(client.ping(), Vec::<String>::new());
}

#[test]
fn telnet_subnegotiation_is_bounded() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let around = |bytes: usize| [&b"alice: a\xff\xfa"[..], &vec![b'x'; bytes], b"\xff\xf0b\n"].concat();
    // The command bytes may be counted or not.
    alice.send_bytes(&around(SUBNEGOTIATION_BYTES_MAX - 4));
    alice.expect("from alice: ab");
    alice.send_bytes(&around(SUBNEGOTIATION_BYTES_MAX + 1));
    alice.expect_error("not_utf8");
    alice.send("alice: on");
    alice.expect("from alice: on");
    alice.expect_nothing();
}

// Commands

#[test]
fn help_lists_the_commands() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/help");
    let lines = alice.ping();
    assert!(lines.iter().all(|line| is_notice(line)), "{lines:?}");
    for command in ["/help", "/who", "/history", "/ping", "/quit"] {
        assert!(lines.iter().any(|line| line.contains(command)), "{command} is not in {lines:?}");
    }
}

#[test]
fn who_lists_each_online_name_once() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "Alice");
    let phone = TestClient::login(&server, "bob");
    let laptop = TestClient::login(&server, "bob");
    alice.send("carol: you are away");
    alice.ping();
    let who = alice.who();
    let times = |name: &str| who.iter().filter(|word| *word == name).count();
    assert!(times("alice") > 0, "{who:?}");
    assert_eq!((times("bob"), times("carol")), (1, 0), "{who:?}");

    phone.quit();
    assert!(alice.is_online("bob"), "one connection of bob is left");
    laptop.quit();
    eventually("bob is offline", || !alice.is_online("bob"));
}

#[test]
fn pong_repeats_the_token() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for (line, answer) in [
        ("/ping", "* pong"),
        ("/ping ", "* pong"),
        ("/ping abc", "* pong abc"),
        ("/ping  ünï:,/  ", "* pong ünï:,/"),
        ("/ping a\u{1b}[1mb\tc", "* pong a\u{fffd}[1mb\tc"),
    ] {
        alice.send(line);
        assert_eq!(alice.expect_line(), answer, "for `{line}`");
    }
}

#[test]
fn pong_comes_after_the_commit() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for count in 1..=20 {
        alice.send("bob: hi");
        alice.ping();
        assert_eq!(server.sqlite("select count(*) from history"), count.to_string());
    }
}

#[test]
fn unknown_command_is_refused() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        alice > /dance
        alice ! unknown_command
        alice > /whoever
        alice ! unknown_command
        alice > /dance bob: hi
        alice ! unknown_command
        ",
    );
}

#[test]
fn quit_writes_what_is_queued_and_closes() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one\nbob: two\ncarol: three");
    alice.ping();
    let mut bob = TestClient::connect(&server);
    bob.send_bytes(b"bob\nbob: four\n/quit\n");
    assert_eq!(messages(&bob.expect_closed()), ["from alice: one", "from alice: two", "from bob: four"]);
    eventually("bob is offline", || !alice.is_online("bob"));
}

#[test]
fn half_closed_client_gets_all_replies() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: waiting");
    alice.ping();
    let mut bob = TestClient::connect(&server);
    bob.send_bytes(b"bob\nalice: there\nnonsense\n/who\n/history\nbob: last\n/ping end");
    bob.shutdown_write();
    let lines = bob.expect_closed();
    let read = messages(&lines);
    assert_eq!(read.len(), 3, "{lines:?}");
    assert_eq!(read[0], "from alice: waiting");
    assert!(read.contains(&"from bob: last"), "{lines:?}");
    assert!(read.iter().any(|line| line.starts_with("! bad_request: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* ") && line.ends_with(" to alice: there")), "{lines:?}");
    assert!(lines.contains(&"* pong end".to_owned()), "{lines:?}");
    alice.expect("from bob: there");
}

#[test]
fn silent_connection_ends_without_output() {
    let server = TestServer::start();
    let client = TestClient::connect(&server);
    client.shutdown_write();
    assert_eq!(client.read_to_end(), b"");
}

// History

#[test]
fn history_is_shown_oldest_first_in_every_form() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: one");
    alice.ping();
    bob.send("alice: two");
    bob.ping();
    alice.send("carol: three");
    alice.send("bob, carol: four");
    alice.ping();

    let all = ["to bob: one", "from bob: two", "to carol: three", "to bob, carol: four"];
    assert_eq!(alice.history(""), all);
    assert_eq!(alice.history("2"), all[2..]);
    assert_eq!(alice.history("bob"), [all[0], all[1], all[3]]);
    assert_eq!(alice.history("BOB 2"), [all[1], all[3]]);
    assert_eq!(alice.history("carol 1"), [all[3]]);
    assert_eq!(alice.history("1000"), all);
    assert_eq!(alice.history("nobody"), [""; 0]);
    assert_eq!(bob.history(""), ["from alice: one", "to alice: two", "from alice: four"]);
}

#[test]
fn history_shows_times() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.ping();
    let day = server.sqlite("select substr(at, 1, 10) from history");
    alice.send("/history");
    let lines = alice.ping();
    assert!(
        lines.iter().any(|line| line.starts_with(&format!("* {day}")) && line.ends_with(" to bob: hi")),
        "{lines:?}"
    );
}

#[test]
fn single_number_is_a_count_even_if_it_is_a_name() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("7: to seven\nbob: one\nbob: two");
    alice.ping();
    assert_eq!(alice.history("1"), ["to bob: two"]);
    assert_eq!(alice.history("7"), ["to 7: to seven", "to bob: one", "to bob: two"]);
    assert_eq!(alice.history("7 5"), ["to 7: to seven"]);
}

#[test]
fn history_without_a_count_shows_the_newest_messages() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for number in 0..300 {
        alice.send(&format!("bob: {number}"));
    }
    alice.ping();
    let shown = alice.history("");
    assert!((1..300).contains(&shown.len()), "{} messages", shown.len());
    let newest: Vec<_> = (300 - shown.len()..300).map(|number| format!("to bob: {number}")).collect();
    assert_eq!(shown, newest);
    assert_eq!(alice.history("299").len(), 299);
}

#[test]
fn history_refuses_invalid_arguments() {
    chat(
        &TestServer::start(),
        "
        alice > alice
        alice > /history bob many
        alice ! bad_request
        alice > /history -bob
        alice ! bad_name
        ",
    );
}

#[test]
fn history_shows_only_own_conversations() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let mut carol = TestClient::login(&server, "carol");
    alice.send("bob: between us");
    alice.send("carol: for you");
    alice.ping();
    bob.send("alice: yes, between us");
    bob.ping();
    assert_eq!(carol.history("100"), ["from alice: for you"]);
    assert_eq!(carol.history("alice 100"), ["from alice: for you"]);
    assert_eq!(carol.history("bob 100"), [""; 0]);
    assert_eq!(bob.history("carol"), [""; 0]);
    assert_eq!(TestClient::login(&server, "mallory").history("bob"), [""; 0]);
}

#[test]
fn history_survives_a_restart() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: before");
    alice.quit();
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: after");
    assert_eq!(alice.history(""), ["to bob: before", "to bob: after"]);
}
