//! Chats written as transcripts. Owns how a transcript is parsed and played; never what a server answers.

use super::client::TestClient;
use super::lines::{is_notice, messages};
use super::server::TestServer;

/// Plays a chat. Each line of the transcript names a connection and an action:
///
/// - `alice > LINE` sends a line and waits until it is processed; the first lines log in, `/quit` leaves.
/// - `alice < LINE` reads exactly this line; only notices may come before it.
/// - `alice * WORDS` reads a notice that contains the words.
/// - `alice ! CODE` reads an error with this code.
///
/// At the end no connection may have unread lines other than notices.
#[track_caller]
pub(crate) fn chat(server: &TestServer, transcript: &str) {
    let mut chat = Chat { server, speakers: Vec::new() };
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let (label, rest) = line.split_once(' ').unwrap_or_else(|| panic!("not a line of a chat: `{line}`"));
        let rest = rest.trim_start();
        let operator = rest.chars().next().unwrap_or_else(|| panic!("no action in `{line}`"));
        let rest = &rest[operator.len_utf8()..];
        chat.step(label, operator, rest.strip_prefix(' ').unwrap_or(rest));
    }
    chat.end();
}

struct Chat<'s> {
    server: &'s TestServer,
    speakers: Vec<Speaker>,
}

struct Speaker {
    client: TestClient,
    /// Name after the login.
    name: Option<String>,
}

impl Chat<'_> {
    #[track_caller]
    fn step(&mut self, label: &str, operator: char, rest: &str) {
        match operator {
            '>' if rest == "/quit" => self.quit(label),
            '>' => self.speaker(label).say(rest),
            '<' => self.speaker(label).client.expect(rest),
            '*' => drop(self.speaker(label).client.expect_notice(rest)),
            '!' => drop(self.speaker(label).client.expect_error(rest)),
            other => panic!("{label}: unknown action `{other}`"),
        }
    }

    /// Returns the connection of this label; opens it when it is first named.
    #[track_caller]
    fn speaker(&mut self, label: &str) -> &mut Speaker {
        let known = self.speakers.iter().position(|speaker| speaker.client.label == label);
        let index = known.unwrap_or_else(|| {
            let mut client = TestClient::connect(self.server);
            client.label = label.to_owned();
            self.speakers.push(Speaker { client, name: None });
            self.speakers.len() - 1
        });
        &mut self.speakers[index]
    }

    /// Disconnects; the chat continues when all others see it.
    #[track_caller]
    fn quit(&mut self, label: &str) {
        let index = self.speakers.iter().position(|speaker| speaker.client.label == label);
        let Speaker { mut client, name } = self.speakers.remove(index.expect("only an online client can leave"));
        client.send("/quit");
        let left = client.expect_closed();
        assert!(messages(&left).is_empty(), "{label} left without reading {left:?}");
        if let Some(name) = name
            && !self.speakers.iter().any(|speaker| speaker.name.as_ref() == Some(&name))
        {
            self.server.wait_until_gone(&name);
        }
    }

    #[track_caller]
    fn end(mut self) {
        for speaker in self.speakers.iter_mut().filter(|speaker| speaker.name.is_some()) {
            speaker.client.expect_nothing();
        }
    }
}

impl Speaker {
    #[track_caller]
    fn say(&mut self, line: &str) {
        self.client.send(line);
        if self.name.is_some() {
            self.client.sync();
        } else if !line.trim().is_empty() {
            let answer = self.client.read_ahead();
            if is_notice(&answer) {
                self.name = Some(line.trim().to_lowercase());
                self.client.sync();
            }
        }
    }
}
