//! What can be called in a template: Go's own functions, and those that skopeo adds.

use std::cmp::Ordering;
use std::str::FromStr;

use super::value::Value;
use super::{Result, TemplateError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Index,
    Join,
    Json,
    Le,
    Len,
    Lower,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Slice,
    Split,
    Title,
    Upper,
}

const FUNCTIONS: [(&str, Function); 21] = [
    ("and", Function::And),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("index", Function::Index),
    ("join", Function::Join),
    ("json", Function::Json),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
    ("slice", Function::Slice),
    ("split", Function::Split),
    ("title", Function::Title),
    ("upper", Function::Upper),
];

impl FromStr for Function {
    type Err = TemplateError;

    fn from_str(name: &str) -> Result<Self> {
        let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
        found.map(|(_, function)| *function).ok_or_else(|| {
            let known: Vec<_> = FUNCTIONS.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            TemplateError::new(format!("there is no function `{name}`, only {known}"))
        })
    }
}

impl Function {
    pub(super) fn call(self, arguments: Vec<Value>) -> Result<Value> {
        let name = FUNCTIONS.iter().find(|(_, it)| *it == self).map_or("", |(name, _)| *name);
        let wrong = || TemplateError::new(format!("`{name}` cannot take these arguments"));
        match (self, &arguments[..]) {
            (Self::And, [_, ..]) => {
                let stops = arguments.iter().find(|value| !value.is_true());
                stops.or(arguments.last()).cloned().ok_or_else(wrong)
            }
            (Self::Or, [_, ..]) => {
                let stops = arguments.iter().find(|value| value.is_true());
                stops.or(arguments.last()).cloned().ok_or_else(wrong)
            }
            (Self::Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => {
                Ok(Value::Bool(others.contains(first)))
            }
            (Self::Ne, [first, second]) => Ok(Value::Bool(first != second)),
            (Self::Lt | Self::Le | Self::Gt | Self::Ge, [first, second]) => {
                let order = order(first, second).ok_or_else(wrong)?;
                Ok(Value::Bool(match self {
                    Self::Lt => order.is_lt(),
                    Self::Le => order.is_le(),
                    Self::Gt => order.is_gt(),
                    _ => order.is_ge(),
                }))
            }
            (Self::Len, [value]) => length(value).map(Value::Number).ok_or_else(wrong),
            (Self::Index, [value, keys @ ..]) => {
                keys.iter().try_fold(value.clone(), index).map_err(|_| wrong())
            }
            (Self::Slice, [value, bounds @ ..]) => slice(value, bounds).ok_or_else(wrong),
            (Self::Json, [value]) => {
                serde_json::to_string(value).map(Value::Text).map_err(|_| wrong())
            }
            (Self::Join, [Value::List(list), Value::Text(between)]) => {
                let texts: Vec<_> = list.iter().flatten().map(ToString::to_string).collect();
                Ok(Value::text(texts.join(between)))
            }
            (Self::Split, [Value::Text(text), Value::Text(between)]) => {
                Ok(Value::texts(text.split(between.as_str())))
            }
            (Self::Lower, [Value::Text(text)]) => Ok(Value::text(text.to_lowercase())),
            (Self::Upper, [Value::Text(text)]) => Ok(Value::text(text.to_uppercase())),
            (Self::Title, [Value::Text(text)]) => Ok(Value::text(title(text))),
            (Self::Print, values) => Ok(Value::text(print(values))),
            (Self::Println, values) => {
                let words: Vec<_> = values.iter().map(ToString::to_string).collect();
                Ok(Value::text(format!("{}\n", words.join(" "))))
            }
            (Self::Printf, [Value::Text(format), values @ ..]) => {
                printf(format, values).map(Value::Text).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

fn order(first: &Value, second: &Value) -> Option<Ordering> {
    match (first, second) {
        (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn length(value: &Value) -> Option<i64> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.as_ref().map_or(0, Vec::len),
        Value::Map(map) => map.as_ref().map_or(0, std::collections::BTreeMap::len),
        _ => return None,
    };
    length.try_into().ok()
}

fn index(value: Value, key: &Value) -> std::result::Result<Value, ()> {
    match (value, key) {
        // Go gives the empty text for what a map of texts lacks.
        (Value::Map(map), Value::Text(key)) => {
            Ok(map.and_then(|mut map| map.remove(key)).unwrap_or(Value::text("")))
        }
        (Value::List(Some(mut list)), Value::Number(at)) => {
            let at = usize::try_from(*at).map_err(|_| ())?;
            if at < list.len() { Ok(list.swap_remove(at)) } else { Err(()) }
        }
        _ => Err(()),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Option<Value> {
    let bound = |at: usize, usual: usize| match bounds.get(at) {
        None => Some(usual),
        Some(Value::Number(number)) => usize::try_from(*number).ok(),
        Some(_) => None,
    };
    match value {
        Value::Text(text) if bounds.len() <= 2 => {
            Some(Value::text(text.get(bound(0, 0)?..bound(1, text.len())?)?))
        }
        Value::List(Some(list)) if bounds.len() <= 2 => {
            Some(Value::List(Some(list.get(bound(0, 0)?..bound(1, list.len())?)?.to_vec())))
        }
        _ => None,
    }
}

/// With capital letters at the beginning of words.
fn title(text: &str) -> String {
    let mut begins = true;
    let capital = |character: char| {
        let is_first = std::mem::replace(&mut begins, !character.is_alphanumeric());
        if is_first { character.to_uppercase().collect() } else { vec![character] }
    };
    text.chars().flat_map(capital).collect()
}

/// As Go's `Sprint`: a space between two values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            text.push(' ');
        }
        text.push_str(&value.to_string());
    }
    text
}

/// Go's `Sprintf` with `%s`, `%v`, `%q`, `%d`, `%t` and `%%`, a width and a precision. `None`: it has
/// something else, or more or fewer values than it prints.
fn printf(format: &str, values: &[Value]) -> Option<String> {
    let mut values = values.iter();
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        text.push_str(before);
        let end = behind.find(|c: char| c.is_ascii_alphabetic() || c == '%')?;
        let (flags, verb) = (&behind[..end], behind[end..].chars().next()?);
        rest = &behind[end + 1..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values.next()?;
        let (left, flags) = flags.strip_prefix('-').map_or((false, flags), |rest| (true, rest));
        let (width, precision) = flags.split_once('.').map_or((flags, None), |(a, b)| (a, Some(b)));
        let width = if width.is_empty() { 0 } else { width.parse::<u16>().ok()? };
        let printed = match (verb, value) {
            ('s' | 'v', value) => value.to_string(),
            ('q', Value::Text(text)) => serde_json::to_string(text).ok()?,
            ('d', Value::Number(number)) => number.to_string(),
            ('t', Value::Bool(yes)) => yes.to_string(),
            _ => return None,
        };
        let printed = match precision {
            Some(most) => printed.chars().take(most.parse().ok()?).collect(),
            None => printed,
        };
        let width = usize::from(width);
        match left {
            true => text.push_str(&format!("{printed:<width$}")),
            false => text.push_str(&format!("{printed:>width$}")),
        }
    }
    text.push_str(rest);
    values.next().is_none().then_some(text)
}
