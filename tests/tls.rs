//! TLS on the port of the chat: versions, certificates, fingerprints, ends of connections. The clients are `openssl s_client`, the ones of
//! holdline, and rustls. If `CI` is set, openssl must be installed; otherwise a test that needs it is skipped with a message.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use support::{Program, TestClient, TestServer, holdline, installed, refusal};

const SELF_SIGNED: &str = "[tls]\nself_signed = true\n";

/// Configuration with a certificate from files, which are `openssl`'s.
const FILES: &str = "[tls]\ncertificate = \"chat.crt\"\nkey = \"chat.key\"\n";

fn s_client(server: &TestServer, options: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &server.address().to_string()]).args(options);
    command
}

/// Makes a certificate and its key with `openssl`.
fn make_certificate(directory: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=chat.example.org", "-addext", "subjectAltName=DNS:chat.example.org,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")])
        .current_dir(directory)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Starts a server with a certificate from files.
fn start_with_files() -> TestServer {
    let directory = tempfile::tempdir().expect("a temporary directory can be created");
    make_certificate(directory.path(), "chat");
    let text = |name: &str| fs::read_to_string(directory.path().join(name)).expect("openssl made it");
    let server = TestServer::with_files(&[("chat.crt", &text("chat.crt")), ("chat.key", &text("chat.key"))]);
    private(&server.path("chat.key"));
    server
}

fn private(key: &Path) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("the mode can be set");
}

/// Runs `holdline` with these arguments in the server's working directory.
fn run(server: &TestServer, arguments: &[&str]) -> Output {
    let mut command = holdline();
    // Known servers of the person who runs the tests do not count.
    command.env("XDG_CONFIG_HOME", server.path("config")).current_dir(server.path(""));
    command.args(arguments).stdout(Stdio::piped()).output().expect("holdline runs")
}

fn fingerprint(server: &TestServer) -> String {
    let data = server.data();
    let output = run(server, &["tls", "fingerprint", "--data", data.to_str().expect("a path is text")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a fingerprint is text").trim_end().to_owned()
}

/// Verifier that trusts every certificate.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Client of plain lines over TLS.
struct TlsClient(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsClient {
    fn connect(server: &TestServer) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring supports these versions");
        let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting)).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a host name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("the settings are valid");
        let socket = TcpStream::connect(server.address()).expect("the server listens");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        TlsClient(BufReader::new(StreamOwned::new(connection, socket)))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the server takes it");
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server writes");
        assert_eq!(line.trim_end(), expected);
    }
}

#[test]
fn people_chat_over_tls_and_beside_it() {
    if installed("openssl").is_none() {
        return;
    }
    let server = TestServer::with_config(SELF_SIGNED);
    let mut bob = TestClient::login(&server, "bob");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut alice = Program::start(&mut s_client(&server, &[version]));
        alice.write("alice\nbob: grüße\n/ping x\n");
        alice.expect_line("* pong x");
        bob.expect("from alice: grüße");
        bob.send("alice: and back");
        alice.expect_line("from bob: and back");
        alice.write("/quit\n");
        alice.wait();
        server.wait_until_gone("alice");
    }
}

#[test]
fn old_versions_are_refused() {
    if installed("openssl").is_none() {
        return;
    }
    let server = TestServer::with_config(SELF_SIGNED);
    for version in ["-tls1", "-tls1_1"] {
        let output = s_client(&server, &[version, "-cipher", "ALL:@SECLEVEL=0"]).stdin(Stdio::null()).output();
        let output = output.expect("openssl runs");
        assert!(!output.status.success(), "{version} was accepted");
    }
}

#[test]
fn json_and_http_are_recognised_inside_tls_and_tls_is_not() {
    let server = TestServer::with_config(SELF_SIGNED);
    let mut program = TlsClient::connect(&server);
    program.send("{\"type\":\"login\",\"name\":\"lamp\"}\n{\"type\":\"ping\",\"id\":\"p\"}\n");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("pong")) {
        let mut line = String::new();
        program.0.read_line(&mut line).expect("the server writes");
        lines.push(line);
    }
    assert!(lines[0].contains("\"welcome\""), "{lines:?}");
    let mut browser = TlsClient::connect(&server);
    browser.send("GET / HTTP/1.1\r\n\r\n");
    browser.expect("HTTP/1.1 501 Not Implemented");
    let mut nested = TlsClient::connect(&server);
    nested.send("\x16\x03\x01");
    assert_eq!(nested.0.read(&mut [0; 1]).expect("the server ends the stream"), 0);
}

#[test]
fn end_of_tcp_without_the_end_of_tls_is_an_ordinary_end_of_input() {
    let server = TestServer::with_config(SELF_SIGNED);
    let mut alice = TlsClient::connect(&server);
    alice.send("alice\nbob: a last line without a newline");
    alice.0.get_mut().sock.shutdown(Shutdown::Write).expect("the socket is open");
    alice.expect("* hello alice, /help lists the commands");
    alice.expect("* nobody has used the name bob yet, kept for later");
    assert_eq!(alice.0.read(&mut [0; 1]).expect("the server ends the stream, and TLS before it"), 0);
    assert_eq!(server.sqlite("select text from history"), "a last line without a newline");
}

#[test]
fn slow_handshake_falls_under_the_login_timeout() {
    let server = TestServer::with_config(&format!("limits.login_timeout_s = 1\n{SELF_SIGNED}"));
    let mut socket = TcpStream::connect(server.address()).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    socket.write_all(b"\x16\x03\x01").expect("the server takes it");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("the server closes the connection");
}

#[test]
fn garbage_instead_of_a_handshake_is_closed_with_an_alert() {
    let server = TestServer::with_config(SELF_SIGNED);
    let mut socket = TcpStream::connect(server.address()).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    socket.write_all(b"\x16 this is no handshake").expect("the server takes it");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("the server closes the connection");
    assert_eq!(rest.first(), Some(&0x15), "an alert of TLS: {rest:?}");
    TestClient::login(&server, "alice");
}

#[test]
fn clients_of_holdline_trust_a_pinned_certificate_and_no_other() {
    let server = TestServer::with_config(SELF_SIGNED);
    let address = format!("tls://{}", server.address());
    let pin = fingerprint(&server);
    assert!(server.log().contains(&pin), "the log shows the fingerprint:\n{}", server.log());
    let send = |pin: &str, text: &str| {
        run(&server, &["send", "--as=alice", "--to=bob", "--server", &address, "--pin", pin, text])
    };
    assert!(send(&pin, "one").status.success());
    assert!(send(&pin.replace(':', "").to_lowercase(), "two").status.success());
    let other = "00".repeat(32);
    let refused = send(&other, "three");
    let error = String::from_utf8(refused.stderr).expect("an error is text");
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("{pin} and not 00:00")) && !error.contains("--pin="), "{error}");
    let unpinned = run(&server, &["send", "--as=alice", "--to=bob", "--server", &address, "three"]);
    let error = String::from_utf8(unpinned.stderr).expect("an error is text");
    assert!(!unpinned.status.success() && error.contains(&format!("use --pin={pin}")), "{error}");
    let tail = run(&server, &["tail", "--as=bob", "--count=2", "--server", &address, "--pin", &pin]);
    assert_eq!(String::from_utf8_lossy(&tail.stdout), "from alice: one\nfrom alice: two\n");
    server.wait_until_delivered("bob");
}

#[test]
fn certificate_that_the_system_trusts_needs_no_pin_and_must_be_for_the_host() {
    if installed("openssl").is_none() {
        return;
    }
    let mut server = start_with_files();
    server.write_file("holdline.toml", FILES);
    server.restart();
    let send = |host: &str| {
        let address = format!("tls://{host}:{}", server.address().port());
        let mut command = holdline();
        // Where OpenSSL and rustls look for the roots of the system.
        command.env("SSL_CERT_FILE", server.path("chat.crt")).env("XDG_CONFIG_HOME", server.path("config"));
        let output = command.args(["send", "--as=alice", "--to=bob", "--server", &address, "hi"]).output();
        String::from_utf8(output.expect("holdline runs").stderr).expect("an error is text")
    };
    assert_eq!(send("127.0.0.1"), "");
    let error = send("localhost");
    assert!(error.contains("is not trusted") && error.contains("not valid for"), "{error}");
}

#[test]
fn expired_certificate_is_not_trusted() {
    if installed("openssl").is_none() || installed("faketime").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be created");
    let script = "faketime '2020-01-01 00:00:00' openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                  -days 2 -subj /CN=old -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
                  -keyout chat.key -out chat.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(directory.path()).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = |name: &str| fs::read_to_string(directory.path().join(name)).expect("openssl made it");
    let mut server = TestServer::with_files(&[("chat.crt", &text("chat.crt")), ("chat.key", &text("chat.key"))]);
    private(&server.path("chat.key"));
    server.write_file("holdline.toml", FILES);
    server.restart();
    let mut command = holdline();
    command.env("SSL_CERT_FILE", server.path("chat.crt")).env("XDG_CONFIG_HOME", server.path("config"));
    let address = format!("tls://{}", server.address());
    let output = command.args(["send", "--as=alice", "--to=bob", "--server", &address, "hi"]).output();
    let error = String::from_utf8(output.expect("holdline runs").stderr).expect("an error is text");
    assert!(error.contains("is not trusted") && error.contains("expired"), "{error}");
}

#[test]
fn replaced_certificate_is_used_for_new_connections_and_a_bad_pair_is_not() {
    if installed("openssl").is_none() {
        return;
    }
    let mut server = start_with_files();
    server.write_file("holdline.toml", FILES);
    server.restart();
    let old = fingerprint(&server);
    let mut alice = TlsClient::connect(&server);
    alice.send("alice\n");
    alice.expect("* hello alice, /help lists the commands");
    let shown = |server: &TestServer| {
        let script = format!(
            "openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
            server.address()
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("openssl runs");
        let text = String::from_utf8(output.stdout).expect("a fingerprint is text");
        text.trim_end().rsplit('=').next().expect("a text has a last part").to_owned()
    };
    assert_eq!(shown(&server), old);
    make_certificate(&server.path(""), "new");
    fs::copy(server.path("new.crt"), server.path("chat.crt")).expect("the certificate can be replaced");
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("cannot load the new certificate, the old one stays in use");
    assert_eq!(shown(&server), old);
    fs::copy(server.path("new.key"), server.path("chat.key")).expect("the key can be replaced");
    // Without a signal: the server looks at the files by itself.
    server.wait_for_log("new certificate; SHA-256 fingerprint");
    assert_eq!(shown(&server), fingerprint(&server));
    assert_ne!(shown(&server), old);
    alice.send("/ping still here\n");
    alice.expect("* pong still here");
}

#[test]
fn mistakes_in_the_configuration_are_told_with_the_key() {
    let server = TestServer::start();
    let told = |toml: &str| {
        server.write_file("holdline.toml", toml);
        refusal(holdline().arg("--listen=127.0.0.1:0").arg("--data=other").current_dir(server.path("")))
    };
    let error = told("[tls]\ncertificate = \"chat.crt\"\n");
    assert!(error.contains("holdline.toml:2: tls.certificate = \"chat.crt\" is there without tls.key"), "{error}");
    let error = told("[tls]\ncertificate = \"absent.crt\"\nkey = \"absent.key\"\n");
    assert!(error.contains("absent.crt does not exist"), "{error}");
    let error = told("[tls]\nself_signed = true\nkey = \"a\"\n");
    assert!(error.contains("tls.self_signed = true is there beside"), "{error}");
    let error = told("[tls]\nself_signed = 1\n");
    assert!(error.contains("tls.self_signed = 1 is not valid; use true or false"), "{error}");
}

#[test]
fn server_without_a_certificate_closes_a_handshake() {
    let server = TestServer::start();
    let mut socket = TcpStream::connect(server.address()).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    socket.write_all(b"\x16\x03\x01").expect("the server takes it");
    assert_eq!(socket.read(&mut [0; 1]).expect("the server closes the connection"), 0);
}
