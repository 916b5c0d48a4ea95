//! Reads a template into a tree.

use std::collections::VecDeque;
use std::str::FromStr;

use super::functions::Function;
use super::lex::{self, Token};
use super::{Result, TemplateError};

/// A template that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(pub(super) Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Printed, unless the pipeline sets a variable.
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        list: Pipeline,
        each: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// `$a, $b := first | second`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub variables: Vec<String>,
    /// Not `:=` but `=`: the variable exists.
    pub assigns: bool,
    /// Not empty.
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Call(Function, Vec<Operand>),
    Operand(Operand),
}

/// What a command works with, and the fields behind it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub root: Root,
    pub fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Root {
    Dot,
    Variable(String),
    Text(String),
    Number(i64),
    Bool(bool),
    Nil,
    Pipeline(Box<Pipeline>),
    /// A function without arguments among the arguments of another.
    Call(Function),
}

impl Template {
    /// Whether it can use this field of what it is filled with: it names it, or uses all as a whole.
    pub fn may_use(&self, field: &str) -> bool {
        self.0.iter().any(|node| node.may_use(field, true))
    }
}

impl Node {
    /// `is_all`: `.` is what the template is filled with, not a part of it.
    fn may_use(&self, field: &str, is_all: bool) -> bool {
        let any = |nodes: &[Self], is_all| nodes.iter().any(|node| node.may_use(field, is_all));
        match self {
            Self::Text(_) => false,
            Self::Print(pipeline) => pipeline.may_use(field, is_all),
            Self::If { condition, then, otherwise } => {
                condition.may_use(field, is_all) || any(then, is_all) || any(otherwise, is_all)
            }
            // What is inside uses a part; the head has told of which.
            Self::With { value: head, then, otherwise }
            | Self::Range { list: head, each: then, otherwise } => {
                head.may_use(field, is_all) || any(then, false) || any(otherwise, is_all)
            }
        }
    }
}

impl Pipeline {
    fn may_use(&self, field: &str, is_all: bool) -> bool {
        let of = |operand: &Operand| match &operand.root {
            Root::Dot if !is_all => false,
            // Of other variables, what they were set to has told.
            Root::Variable(name) if !name.is_empty() => false,
            Root::Dot | Root::Variable(_) => operand.fields.first().is_none_or(|it| it == field),
            Root::Pipeline(inner) => inner.may_use(field, is_all),
            _ => false,
        };
        self.commands.iter().any(|command| match command {
            Command::Call(_, operands) => operands.iter().any(of),
            Command::Operand(operand) => of(operand),
        })
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self> {
        let mut pieces = pieces(text)?;
        let (nodes, end) = block(&mut pieces, 0)?;
        match end {
            Stop::Text => Ok(Self(nodes)),
            _ => Err(TemplateError::new("there is an `end` or `else` too many")),
        }
    }
}

/// Templates within templates that are read: each level is a call of a function.
const MAX_DEPTH: usize = 64;

enum Piece {
    Text(String),
    Action(VecDeque<Token>),
}

/// Text and actions in turn, with what `{{-` and `-}}` trim taken away.
fn pieces(text: &str) -> Result<VecDeque<Piece>> {
    let mut pieces = VecDeque::new();
    let mut rest = text;
    let mut trims = false;
    while let Some((before, behind)) = rest.split_once("{{") {
        let begins = behind.strip_prefix('-').filter(|it| it.starts_with(char::is_whitespace));
        let before = if trims { before.trim_start() } else { before };
        let before = if begins.is_some() { before.trim_end() } else { before };
        pieces.push_back(Piece::Text(before.to_owned()));
        let action = begins.unwrap_or(behind);
        let end = end_of_action(action)
            .ok_or_else(|| TemplateError::new(format!("`{{{{{behind}` has no `}}}}`")))?;
        let inside = &action[..end];
        rest = &action[end + 2..];
        let trimmed = inside.strip_suffix('-').filter(|it| it.ends_with(char::is_whitespace));
        trims = trimmed.is_some();
        let inside = trimmed.unwrap_or(inside).trim();
        if !(inside.starts_with("/*") && inside.ends_with("*/")) {
            pieces.push_back(Piece::Action(lex::tokens(inside)?.into()));
        }
    }
    pieces.push_back(Piece::Text(if trims { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// Where the `}}` is that is in no quotation marks.
fn end_of_action(action: &str) -> Option<usize> {
    if action.trim_start().starts_with("/*") {
        let comment = action.find("*/")?;
        return Some(comment + action[comment..].find("}}")?);
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in action.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(mark) if character == mark => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '`') => quote = Some(character),
            None if action[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// How a block ends.
enum Stop {
    Text,
    End,
    /// With what stands behind `else`.
    Else(VecDeque<Token>),
}

fn block(pieces: &mut VecDeque<Piece>, depth: usize) -> Result<(Vec<Node>, Stop)> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop_front() {
        let mut tokens = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match keyword(&tokens) {
            Some("end") => return Ok((nodes, Stop::End)),
            Some("else") => {
                tokens.pop_front();
                return Ok((nodes, Stop::Else(tokens)));
            }
            Some("if" | "with" | "range") => nodes.push(branch(tokens, pieces, depth)?),
            Some(word @ ("define" | "template" | "block" | "break" | "continue")) => {
                return Err(TemplateError::new(format!("`{word}` is not supported")));
            }
            _ => nodes.push(Node::Print(whole_pipeline(tokens, depth)?)),
        }
    }
    Ok((nodes, Stop::Text))
}

fn keyword(tokens: &VecDeque<Token>) -> Option<&str> {
    match tokens.front() {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

/// `if`, `with` or `range`, up to its `end`.
fn branch(mut tokens: VecDeque<Token>, pieces: &mut VecDeque<Piece>, depth: usize) -> Result<Node> {
    let Some(Token::Word(word)) = tokens.pop_front() else { return Err(nothing_there()) };
    let head = whole_pipeline(tokens, depth)?;
    let (then, end) = block(pieces, depth + 1)?;
    let otherwise = match end {
        Stop::End => Vec::new(),
        Stop::Text => return Err(no_end(&word)),
        Stop::Else(more) if more.is_empty() => match block(pieces, depth + 1)? {
            (otherwise, Stop::End) => otherwise,
            _ => return Err(no_end(&word)),
        },
        // `else if` has one `end` for both.
        Stop::Else(more) => vec![branch(more, pieces, depth + 1)?],
    };
    Ok(match word.as_str() {
        "if" => Node::If { condition: head, then, otherwise },
        "with" => Node::With { value: head, then, otherwise },
        _ => Node::Range { list: head, each: then, otherwise },
    })
}

fn whole_pipeline(mut tokens: VecDeque<Token>, depth: usize) -> Result<Pipeline> {
    let pipeline = pipeline(&mut tokens, depth)?;
    match tokens.front() {
        None => Ok(pipeline),
        Some(token) => Err(TemplateError::new(format!("{token:?} is not expected there"))),
    }
}

/// Up to the end, or to a `)` that it did not open.
fn pipeline(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Pipeline> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let (variables, assigns) = variables(tokens);
    let mut commands = Vec::new();
    loop {
        commands.push(command(tokens, depth)?);
        match tokens.front() {
            Some(Token::Pipe) => tokens.pop_front(),
            _ => return Ok(Pipeline { variables, assigns, commands }),
        };
    }
}

fn variables(tokens: &mut VecDeque<Token>) -> (Vec<String>, bool) {
    let at = tokens.iter().position(|it| matches!(it, Token::Declare | Token::Assign));
    let Some(at) = at.filter(|at| *at <= 3) else { return (Vec::new(), false) };
    let assigns = tokens.get(at) == Some(&Token::Assign);
    let names = tokens.drain(..=at).filter_map(|token| match token {
        Token::Variable(name) => Some(name),
        _ => None,
    });
    (names.collect(), assigns)
}

fn command(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Command> {
    let function = match tokens.front() {
        Some(Token::Word(word)) if !matches!(word.as_str(), "true" | "false" | "nil") => {
            Some(word.parse::<Function>()?)
        }
        _ => None,
    };
    if function.is_some() {
        tokens.pop_front();
    }
    let mut operands = Vec::new();
    while !matches!(tokens.front(), None | Some(Token::Pipe | Token::Close)) {
        operands.push(operand(tokens, depth)?);
    }
    match (function, operands.len()) {
        (Some(function), _) => Ok(Command::Call(function, operands)),
        (None, 1) => operands.pop().map(Command::Operand).ok_or_else(nothing_there),
        (None, 0) => Err(nothing_there()),
        (None, _) => Err(TemplateError::new(
            "methods, such as `.Created.Format`, cannot be called: only functions",
        )),
    }
}

fn operand(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Operand> {
    let mut fields = Vec::new();
    let root = match tokens.pop_front().ok_or_else(nothing_there)? {
        Token::Dot => Root::Dot,
        Token::Field { name, .. } => {
            fields.push(name);
            Root::Dot
        }
        Token::Variable(name) => Root::Variable(name),
        Token::Text(text) => Root::Text(text),
        Token::Number(number) => Root::Number(number),
        Token::Word(word) => match word.as_str() {
            "true" => Root::Bool(true),
            "false" => Root::Bool(false),
            "nil" => Root::Nil,
            name => Root::Call(name.parse()?),
        },
        Token::Open => {
            let inner = pipeline(tokens, depth + 1)?;
            match tokens.pop_front() {
                Some(Token::Close) => Root::Pipeline(Box::new(inner)),
                _ => return Err(TemplateError::new("a `(` has no `)`")),
            }
        }
        token => return Err(TemplateError::new(format!("{token:?} is not expected there"))),
    };
    while let Some(Token::Field { glued: true, .. }) = tokens.front() {
        if let Some(Token::Field { name, .. }) = tokens.pop_front() {
            fields.push(name);
        }
    }
    Ok(Operand { root, fields })
}

fn nothing_there() -> TemplateError {
    TemplateError::new("there is nothing to print between `{{` and `}}`")
}

fn no_end(word: &str) -> TemplateError {
    TemplateError::new(format!("`{word}` has no `{{{{end}}}}`"))
}

fn too_deep() -> TemplateError {
    TemplateError::new("the template is nested too deep")
}
