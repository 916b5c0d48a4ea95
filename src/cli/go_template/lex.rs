//! What stands between `{{` and `}}`, in tokens.

use super::{Result, TemplateError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `.` alone.
    Dot,
    /// `.Name`. `glued`: nothing stands between it and what is before it.
    Field {
        name: String,
        glued: bool,
    },
    /// `$name`, or `$` with an empty name.
    Variable(String),
    Word(String),
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// The tokens of an action.
pub fn tokens(action: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut glued = false;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            glued = false;
            continue;
        }
        let (token, length) = token(rest, first, glued)?;
        tokens.push(token);
        rest = &rest[length..];
        glued = true;
    }
    Ok(tokens)
}

/// The first token, and how many bytes it has.
fn token(rest: &str, first: char, glued: bool) -> Result<(Token, usize)> {
    let behind = &rest[first.len_utf8()..];
    Ok(match first {
        '|' => (Token::Pipe, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        '=' => (Token::Assign, 1),
        ':' if behind.starts_with('=') => (Token::Declare, 2),
        '.' => match word(behind) {
            "" => (Token::Dot, 1),
            name => (Token::Field { name: name.to_owned(), glued }, 1 + name.len()),
        },
        '$' => {
            let name = word(behind);
            (Token::Variable(name.to_owned()), 1 + name.len())
        }
        '"' => quoted(rest)?,
        '`' => {
            let end = behind.find('`').ok_or_else(|| unclosed(rest))?;
            (Token::Text(behind[..end].to_owned()), end + 2)
        }
        '-' | '+' | '0'..='9' => {
            let length = 1 + behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
            let number = rest[..length].parse().map_err(|_| unknown(rest))?;
            (Token::Number(number), length)
        }
        _ => match word(rest) {
            "" => return Err(unknown(rest)),
            name => (Token::Word(name.to_owned()), name.len()),
        },
    })
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// A text in quotation marks, with Go's usual escapes.
fn quoted(rest: &str) -> Result<(Token, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Token::Text(text), at + 1)),
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, same @ ('"' | '\\'))) => text.push(same),
                _ => return Err(unknown(&rest[at..])),
            },
            other => text.push(other),
        }
    }
    Err(unclosed(rest))
}

fn unclosed(rest: &str) -> TemplateError {
    TemplateError::new(format!("the text {rest} has no end"))
}

fn unknown(rest: &str) -> TemplateError {
    TemplateError::new(format!("`{rest}` is not understood"))
}
