//! Row of the table `outbox` as a message: its sender, destinations and text. Owns how the columns are parsed; never sends or removes a row.

use crate::config::Limits;
use crate::limits::LINE_BYTES_MAX;
use crate::message::{Destination, PeerName, Text};
use crate::protocol::{Code, Refusal, plain};
use crate::store::Post;

/// Row with its message.
#[derive(Debug)]
pub(super) struct ReadPost {
    pub(super) post: Box<Post>,
    pub(super) message: Result<PostedMessage, PostError>,
}

/// Message in a row.
#[derive(Debug)]
pub(super) struct PostedMessage {
    pub(super) sender: PeerName,
    pub(super) to: Vec<Destination>,
    pub(super) text: Text,
}

/// Reason why the message of a row is not sent.
#[derive(Debug)]
pub(super) enum PostError {
    /// A name in the row cannot be looked up now: the message is sent later.
    Transient,
    /// The message cannot be sent; the reason is for people.
    Permanent(String),
}

impl From<Refusal> for PostError {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            Code::Internal | Code::StorageFull => PostError::Transient,
            code => PostError::Permanent(format!("{}: {}", code.as_str(), refusal.message)),
        }
    }
}

/// Reads the columns of a row.
pub(super) fn read(post: Post, limits: &Limits) -> ReadPost {
    let message = read_message(&post, Limits::or_none(limits.destinations_max)).map_err(PostError::from);
    ReadPost { post: Box::new(post), message }
}

fn read_message(post: &Post, destinations_max: u64) -> Result<PostedMessage, Refusal> {
    let sender = column("sender", post.sender.as_deref())?;
    let sender =
        PeerName::parse(sender.trim()).map_err(|bad| Refusal::new(Code::BadName, format!("{bad}; not sent")))?;
    let to = plain::parse_destinations(column("recipients", post.recipients.as_deref())?, destinations_max)?;
    let text = column("text", post.text.as_deref())?;
    if text.len() > LINE_BYTES_MAX {
        return Err(Refusal::new(Code::TooLong, format!("a text of more than {LINE_BYTES_MAX} bytes; not sent")));
    }
    let text = Text::verbatim(text).ok_or_else(|| Refusal::new(Code::Empty, "the text is empty; not sent"))?;
    Ok(PostedMessage { sender, to, text })
}

fn column<'p>(name: &str, value: Option<&'p [u8]>) -> Result<&'p str, Refusal> {
    let value = value.ok_or_else(|| Refusal::new(Code::BadRequest, format!("{name} is NULL; not sent")))?;
    str::from_utf8(value).map_err(|_| Refusal::new(Code::NotUtf8, format!("{name} is not UTF-8; not sent")))
}
