//! Fills a template.

use super::parse::{Command, Node, Operand, Pipeline, Root, Template};
use super::value::{Entry, Value};
use super::{Result, TemplateError};

/// A template that makes more than this is refused: nobody reads it, and it would fill the memory.
const MAX_TEXT: usize = 64 << 20;

impl Template {
    /// The template's text, filled with `all`.
    pub fn fill(&self, all: &Value) -> Result<String> {
        let mut filling = Filling { all, variables: Vec::new(), text: String::new() };
        filling.nodes(&self.0, all)?;
        Ok(filling.text)
    }
}

struct Filling<'a> {
    all: &'a Value,
    /// The innermost last.
    variables: Vec<(String, Value)>,
    text: String,
}

impl Filling<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<()> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<()> {
        match node {
            Node::Text(text) => self.print(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() { self.print(&value.to_string()) } else { Ok(()) }
            }
            Node::If { condition, then, otherwise } => self.scoped(|filling| {
                let holds = filling.pipeline(condition, dot)?.is_true();
                filling.nodes(if holds { then } else { otherwise }, dot)
            }),
            Node::With { value, then, otherwise } => self.scoped(|filling| {
                let value = filling.pipeline(value, dot)?;
                match value.is_true() {
                    true => filling.nodes(then, &value),
                    false => filling.nodes(otherwise, dot),
                }
            }),
            Node::Range { list, each, otherwise } => {
                self.scoped(|filling| filling.range(list, each, otherwise, dot))
            }
        }
    }

    fn range(
        &mut self,
        list: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<()> {
        let unset = Pipeline { variables: Vec::new(), ..list.clone() };
        let items: Vec<(Value, Value)> = match self.pipeline(&unset, dot)? {
            Value::Nil => Vec::new(),
            Value::List(list) => {
                let numbers = (0..).map(Value::Number);
                numbers.zip(list.unwrap_or_default()).collect()
            }
            Value::Map(map) => {
                let map = map.unwrap_or_default().into_iter();
                map.map(|(key, value)| (Value::Text(key), value)).collect()
            }
            other => return Err(TemplateError::new(format!("`{other}` is no list for `range`"))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            self.scoped(|filling| {
                match &list.variables[..] {
                    [] => {}
                    [only] => filling.variables.push((only.clone(), value.clone())),
                    [first, second, ..] => {
                        filling.variables.push((first.clone(), key));
                        filling.variables.push((second.clone(), value.clone()));
                    }
                }
                filling.nodes(each, &value)
            })?;
        }
        Ok(())
    }

    /// What is set inside is gone behind it.
    fn scoped(&mut self, fill: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.variables.len();
        let filled = fill(self);
        self.variables.truncate(before);
        filled
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > MAX_TEXT {
            return Err(TemplateError::new("the template makes more than 64 MiB of text"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        let value = piped.unwrap_or(Value::Nil);
        if let Some(name) = pipeline.variables.last() {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match (pipeline.assigns, known) {
                (true, Some((_, known))) => *known = value.clone(),
                (true, None) => return Err(no_variable(name)),
                (false, _) => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    /// `piped`: what the command before made, which becomes the last argument.
    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value> {
        match (command, piped) {
            (Command::Call(function, operands), piped) => {
                let arguments = operands.iter().map(|operand| self.operand(operand, dot));
                let mut arguments = arguments.collect::<Result<Vec<_>>>()?;
                arguments.extend(piped);
                function.call(arguments)
            }
            (Command::Operand(operand), None) => self.operand(operand, dot),
            (Command::Operand(_), Some(_)) => {
                Err(TemplateError::new("behind `|`, there must be a function"))
            }
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value> {
        let root = match &operand.root {
            Root::Dot => dot.clone(),
            Root::Variable(name) if name.is_empty() => self.all.clone(),
            Root::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| no_variable(name))?.1.clone()
            }
            Root::Text(text) => Value::text(text),
            Root::Number(number) => Value::Number(*number),
            Root::Bool(yes) => Value::Bool(*yes),
            Root::Nil => Value::Nil,
            Root::Pipeline(inner) => self.pipeline(inner, dot)?,
            Root::Call(function) => function.call(Vec::new())?,
        };
        operand.fields.iter().try_fold(root, |value, name| field(value, name))
    }
}

fn no_variable(name: &str) -> TemplateError {
    TemplateError::new(format!("there is no variable `${name}`"))
}

fn field(value: Value, name: &str) -> Result<Value> {
    match value {
        Value::Record(fields) => {
            let known: Vec<_> = fields.iter().map(|entry| entry.name).collect();
            let found = fields.into_iter().find(|entry: &Entry| entry.name == name);
            let unknown = || format!("there is no `.{name}`, only .{}", known.join(", ."));
            found.map(|entry| entry.value).ok_or_else(|| TemplateError::new(unknown()))
        }
        Value::Map(map) => match map.and_then(|mut map| map.remove(name)) {
            Some(value) => Ok(value),
            // As Go prints what a map lacks.
            None => Ok(Value::text("<no value>")),
        },
        other => Err(TemplateError::new(format!("`{other}` has no `.{name}`"))),
    }
}
