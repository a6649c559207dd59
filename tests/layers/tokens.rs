//! Rust source as a list of tokens, good enough to find imports. Owns what is left out: comments, literals, and items that only
//! tests compile. Never interprets a path.

/// A word or a sign, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// An identifier, a number, `::`, or one other character.
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Returns the tokens of a file without comments, strings, characters and lifetimes.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: source, line: 1 };
    std::iter::from_fn(|| scanner.next_token()).collect()
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl Scanner<'_> {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(self.rest.find("*/").map_or(self.rest.len(), |end| end + 2));
            } else if let Some(length) = literal(self.rest) {
                self.skip(length);
            } else if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else {
                let line = self.line;
                let length = if self.rest.starts_with("::") { 2 } else { word(self.rest).max(first.len_utf8()) };
                let text = self.rest[..length].to_owned();
                self.skip(length);
                return Some(Token { text, line });
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// Returns the length of the identifier or number with which a text begins, or 0.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Returns the length of the string, character or lifetime with which a text begins.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(['"', '\'']) || prefix.ends_with('r') && rest.starts_with("#"))
    })?;
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        // A raw identifier, such as r#type, is a word.
        let inside = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let quote = rest.chars().next()?;
    if quote == '\'' && is_lifetime(&rest[1..]) {
        return Some(prefix.len() + 1 + word(&rest[1..]));
    }
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Whether an apostrophe before this text begins a lifetime, and not a character.
fn is_lifetime(text: &str) -> bool {
    let length = word(text);
    length > 0 && !text[length..].starts_with('\'')
}

/// Removes each item that only tests compile. Returns the names of the modules among them that have files of their own.
pub(crate) fn without_test_items(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut left, mut modules, mut rest) = (Vec::new(), Vec::new(), tokens);
    while let [token, after @ ..] = rest {
        let Some(attribute) = test_attribute_length(rest) else {
            left.push(token.clone());
            rest = after;
            continue;
        };
        let item = &rest[attribute..][..item_length(&rest[attribute..])];
        if let [.., keyword, name, end] = item
            && (keyword.text.as_str(), end.text.as_str()) == ("mod", ";")
        {
            modules.push(name.text.clone());
            // The declaration stays, so that the files of the module are read too.
            left.extend_from_slice(item);
        }
        rest = &rest[attribute + item.len()..];
    }
    (left, modules)
}

/// Counts the tokens of the attribute `#[cfg(test)]`, or of one such as `#[cfg(all(test, unix))]`, if that is what comes next.
fn test_attribute_length(tokens: &[Token]) -> Option<usize> {
    let is_cfg = tokens.iter().take(4).map(|token| token.text.as_str()).eq(["#", "[", "cfg", "("]);
    let end = tokens.iter().position(|token| token.text == "]").filter(|_| is_cfg)?;
    let has = |word: &str| tokens[..end].iter().any(|token| token.text == word);
    (has("test") && !has("not")).then_some(end + 1)
}

/// Counts the tokens up to the end of an item: its `;`, or the brace that closes its body.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return at + 1;
        }
    }
    tokens.len()
}
