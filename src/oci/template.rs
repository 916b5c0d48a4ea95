//! Target path templates: where a rule puts a source repository, like `acme/{repository|flatten}`.

use std::str::FromStr;

use super::pattern::RepositoryPattern;
use super::reference::{ReferenceError, RegistryHost, RepositoryName};
use super::shown_as_text;

/// What a template may refer to.
#[derive(Debug, Clone, Copy)]
pub struct SourceContext<'a> {
    /// `None`: the source is on disk.
    pub registry: Option<&'a RegistryHost>,
    pub repository: &'a RepositoryName,
    /// The path that `{tail}` leaves out: see [`RepositoryPattern::literal_prefix`].
    pub prefix: &'a str,
}

/// The path part of a target, with variables for parts of the source's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    /// What stands between the slashes, each in pieces.
    segments: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable { variable: Variable, filters: Vec<Filter> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Repository,
    Tail,
    Name,
    Namespace,
    Registry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Flatten,
    Lower,
}

const VARIABLES: [(&str, Variable); 5] = [
    ("repository", Variable::Repository),
    ("tail", Variable::Tail),
    ("name", Variable::Name),
    ("namespace", Variable::Namespace),
    ("registry", Variable::Registry),
];

const FILTERS: [(&str, Filter); 2] = [("flatten", Filter::Flatten), ("lower", Filter::Lower)];

/// Why a text is not a template, or what it makes of a source is not a repository name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("`{{registry}}` has no value: the source is on disk")]
    NoRegistry,
    #[error("unknown variable `{0}`: allowed are {names}", names = listed(&VARIABLES))]
    Variable(String),
    #[error("unknown filter `{0}`: allowed are {names}", names = listed(&FILTERS))]
    Filter(String),
    #[error("`{0}` has a `{{` without its `}}`")]
    Unclosed(String),
    #[error("`{0}` has a `}}` without its `{{`")]
    Unopened(String),
    #[error("`{0}` has an empty path component")]
    EmptyPart(String),
    #[error("`{template}` makes no repository name: {reason}")]
    Name { template: String, reason: ReferenceError },
}

fn listed<T>(known: &[(&str, T)]) -> String {
    known.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl PathTemplate {
    /// Whether the template has no variable: it makes the same name of every source.
    pub fn is_constant(&self) -> bool {
        self.variables().next().is_none()
    }

    /// Whether repositories that match the pattern keep different names here, so that none is
    /// written over another. (`flatten` and neighbouring variables can still make two names equal
    /// in rare cases, which only the list of repositories shows.)
    pub fn tells_apart(&self, pattern: &RepositoryPattern) -> bool {
        let has = |wanted| self.variables().any(|variable| variable == wanted);
        has(Variable::Repository)
            || has(Variable::Tail)
            || ((has(Variable::Name) || !pattern.name_varies())
                && (has(Variable::Namespace) || !pattern.namespace_varies()))
    }

    /// The target repository for a source repository. Parts that come out empty, such as the
    /// namespace of a repository without one, are left out.
    ///
    /// # Errors
    /// When the outcome is not a valid name, for instance because it is too long.
    pub fn render(&self, source: &SourceContext<'_>) -> Result<RepositoryName, TemplateError> {
        let mut path = String::new();
        for segment in &self.segments {
            let start = path.len();
            for piece in segment {
                path.push_str(&piece.render(source)?);
            }
            if path.len() > start {
                path.push('/');
            }
        }
        path.pop();
        path.parse().map_err(|reason| TemplateError::Name { template: self.text.clone(), reason })
    }

    /// How every target repository begins if the source repositories are below `prefix`.
    pub fn literal_start(&self, registry: Option<&RegistryHost>, prefix: &str) -> String {
        let mut start = String::new();
        for (n, segment) in self.segments.iter().enumerate() {
            if n > 0 && !start.is_empty() {
                start.push('/');
            }
            for piece in segment {
                let Piece::Variable { variable, filters } = piece else {
                    let Piece::Literal(text) = piece else { continue };
                    start.push_str(text);
                    continue;
                };
                let end = match variable {
                    Variable::Registry if registry.is_some() => None,
                    Variable::Repository if !prefix.is_empty() => Some("/"),
                    Variable::Namespace if !prefix.is_empty() => Some(""),
                    _ => return start,
                };
                // Of the repository, only what the prefix says is known.
                let repository = prefix.parse::<RepositoryName>();
                let known = match (variable, repository) {
                    (Variable::Registry, _) => {
                        let repository = &RepositoryName::from_valid("x");
                        variable.value(&SourceContext { registry, repository, prefix: "" })
                    }
                    (_, Ok(_)) => Ok(format!("{prefix}{}", end.unwrap_or_default())),
                    (_, Err(_)) => return start,
                };
                start.push_str(&filtered(known.unwrap_or_default(), filters));
                if end.is_some() {
                    return start;
                }
            }
        }
        start
    }

    /// The only source repository that this target repository can be made of, where that can be
    /// told: the template ends in the source's path, and has no other variable.
    pub fn source_of(&self, target: &RepositoryName, prefix: &str) -> Option<RepositoryName> {
        let (last, before) = self.segments.split_last()?;
        let [Piece::Variable { variable, filters }] = &last[..] else { return None };
        let mut start = String::new();
        for segment in before {
            for piece in segment {
                let Piece::Literal(text) = piece else { return None };
                start.push_str(text);
            }
            start.push('/');
        }
        let rest = target.as_str().strip_prefix(start.as_str())?;
        match variable {
            _ if !filters.is_empty() => None,
            Variable::Repository => rest.parse().ok(),
            Variable::Tail if prefix.is_empty() => rest.parse().ok(),
            Variable::Tail => format!("{prefix}/{rest}").parse().ok(),
            _ => None,
        }
    }

    /// Whether two source repositories never become the same, as far as their paths go.
    pub fn keeps_whole_path(&self) -> bool {
        self.segments.iter().flatten().any(|piece| {
            matches!(piece, Piece::Variable { variable: Variable::Repository, filters } if filters.is_empty())
        })
    }

    /// Renders a plain source, so that literal text that no repository name can have is found
    /// when the template is read, not when the first repository is copied.
    fn try_out(&self) -> Result<(), TemplateError> {
        let (Ok(registry), Ok(repository)) = ("registry".parse(), "namespace/name".parse()) else {
            return Ok(()); // cannot happen: both are valid
        };
        let (registry, repository, prefix) = (Some(&registry), &repository, "namespace");
        self.render(&SourceContext { registry, repository, prefix }).map(|_| ())
    }

    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.segments.iter().flatten().filter_map(|piece| match piece {
            Piece::Variable { variable, .. } => Some(*variable),
            Piece::Literal(_) => None,
        })
    }
}

impl Piece {
    fn render(&self, source: &SourceContext<'_>) -> Result<String, TemplateError> {
        match self {
            Self::Literal(text) => Ok(text.clone()),
            Self::Variable { variable, filters } => Ok(filtered(variable.value(source)?, filters)),
        }
    }

    /// Reads what stands between braces: `variable|filter|filter`.
    fn parse_variable(text: &str) -> Result<Self, TemplateError> {
        let mut words = text.split('|').map(str::trim);
        let name = words.next().unwrap_or_default();
        let variable =
            find(&VARIABLES, name).ok_or_else(|| TemplateError::Variable(name.to_owned()))?;
        let filters = words
            .map(|name| find(&FILTERS, name).ok_or_else(|| TemplateError::Filter(name.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self::Variable { variable, filters })
    }
}

fn filtered(value: String, filters: &[Filter]) -> String {
    filters.iter().fold(value, |value, filter| match filter {
        Filter::Flatten => value.replace('/', "-"),
        Filter::Lower => value.to_ascii_lowercase(),
    })
}

fn find<T: Copy>(known: &[(&str, T)], name: &str) -> Option<T> {
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl Variable {
    fn value(self, source: &SourceContext<'_>) -> Result<String, TemplateError> {
        let repository = source.repository.as_str();
        let (namespace, name) = repository.rsplit_once('/').unwrap_or(("", repository));
        let tail = repository.strip_prefix(source.prefix).and_then(|tail| tail.strip_prefix('/'));
        Ok(match self {
            Self::Repository => repository.to_owned(),
            Self::Tail => tail.unwrap_or(repository).to_owned(),
            Self::Name => name.to_owned(),
            Self::Namespace => namespace.to_owned(),
            // Colons and the brackets of IPv6 addresses are not allowed in a path.
            Self::Registry => {
                let registry = source.registry.ok_or(TemplateError::NoRegistry)?;
                registry.as_str().replace(':', "-").replace(['[', ']'], "")
            }
        })
    }
}

impl FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (mut segments, mut segment) = (Vec::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['/', '{', '}']).unwrap_or(rest.len());
            let (literal, behind) = rest.split_at(end);
            if !literal.is_empty() {
                segment.push(Piece::Literal(literal.to_owned()));
            }
            rest = match behind.split_at_checked(1) {
                None => behind,
                Some(("/", behind)) => {
                    segments.push(std::mem::take(&mut segment));
                    behind
                }
                Some(("{", behind)) => {
                    let unclosed = || TemplateError::Unclosed(text.to_owned());
                    let (variable, behind) = behind.split_once('}').ok_or_else(unclosed)?;
                    segment.push(Piece::parse_variable(variable)?);
                    behind
                }
                Some(_) => return Err(TemplateError::Unopened(text.to_owned())),
            };
        }
        segments.push(segment);
        if segments.iter().any(Vec::is_empty) {
            return Err(TemplateError::EmptyPart(text.to_owned()));
        }
        let template = Self { text: text.to_owned(), segments };
        template.try_out()?;
        Ok(template)
    }
}

shown_as_text!(PathTemplate.text);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    fn render(template: &str, host: &str, repository: &str, prefix: &str) -> String {
        let (registry, repository) = (host.parse().unwrap(), repository.parse().unwrap());
        let source = SourceContext { registry: Some(&registry), repository: &repository, prefix };
        template.parse::<PathTemplate>().unwrap().render(&source).unwrap().to_string()
    }

    #[test]
    fn variables_and_filters_are_rendered() {
        let cases = [
            ("acme/mirror", "acme/mirror"),
            ("acme/{repository}", "acme/corp/team/app"),
            ("acme/{repository|flatten}", "acme/corp-team-app"),
            ("acme/{ tail | flatten | lower }", "acme/team-app"),
            ("{tail}", "team/app"),
            ("x-{name}-y", "x-app-y"),
            ("{namespace|flatten}/{name}", "corp-team/app"),
            ("{registry}/{name}", "ghcr.io-5000/app"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, "GHCR.io:5000", "corp/team/app", "corp"), expected);
        }
    }

    #[test]
    fn a_missing_namespace_leaves_no_empty_part() {
        assert_eq!(render("m/{namespace}/{name}", "ghcr.io", "app", ""), "m/app");
        assert_eq!(render("{tail}", "ghcr.io", "app", ""), "app");
        assert_eq!(render("m-{registry}/{tail}", "[::1]:5000", "1/app", "1"), "m---1-5000/app");
    }

    #[test]
    fn malformed_templates_say_what_is_wrong() {
        assert_refused::<PathTemplate>(&[
            ("", "empty path component"),
            ("/a", "empty path component"),
            ("a/", "empty path component"),
            ("a//{name}", "empty path component"),
            (
                "a/{nam}",
                "unknown variable `nam`: allowed are `repository`, `tail`, `name`, `namespace`, `registry`",
            ),
            ("a/{}", "unknown variable ``"),
            ("a/{name|upper}", "unknown filter `upper`: allowed are `flatten`, `lower`"),
            ("a/{name", "without its `}`"),
            ("a/name}", "without its `{`"),
            ("A/{name}", "upper-case"),
            ("a/-{name}", "not a repository name"),
            ("a:5/{name}", "not a repository name"),
        ]);
    }

    #[test]
    fn an_outcome_that_is_no_name_is_an_error() {
        let repository = "a".repeat(250).parse().unwrap();
        let registry = "ghcr.io".parse().unwrap();
        let source =
            SourceContext { registry: Some(&registry), repository: &repository, prefix: "" };
        let template: PathTemplate = "mirror/{repository}".parse().unwrap();
        assert!(template.render(&source).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn templates_tell_whether_names_stay_apart() {
        let cases = [
            ("x", "acme/*", false),
            ("{registry}/x", "acme/*", false),
            ("{name}", "acme/*", true),
            ("{name}", "acme/**", false),
            ("{name}", "*/app", false),
            ("{namespace}", "*/app", true),
            ("{namespace}", "acme/*", false),
            ("{namespace}/{name}", "**", true),
            ("{tail}", "acme/**", true),
            ("{repository|flatten}", "**", true),
        ];
        for (template, pattern, expected) in cases {
            let template: PathTemplate = template.parse().unwrap();
            assert_eq!(template.tells_apart(&pattern.parse().unwrap()), expected, "{template}");
        }
        assert!("a/b".parse::<PathTemplate>().unwrap().is_constant());
        assert!(!"a/{registry}".parse::<PathTemplate>().unwrap().is_constant());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,20}|([a-c/|]|\\{name\\}|\\{|\\}){0,10}") {
            if let Ok(template) = text.parse::<PathTemplate>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }

        /// Two sources never meet where the template says that it tells them apart.
        #[test]
        fn what_is_told_apart_stays_apart(
            template in "(\\{(repository|tail|name|namespace)\\}|x)(/\\{(tail|name|registry)\\})?",
            pattern in "a/\\*|\\*/b|\\*\\*|a/\\*\\*|\\*/\\*",
            one in "[ab]/[ab](/[ab])?",
            other in "[ab]/[ab](/[ab])?",
        ) {
            let pattern: RepositoryPattern = pattern.parse().unwrap();
            let template: PathTemplate = template.parse().unwrap();
            let (one, other): (RepositoryName, RepositoryName) = (one.parse().unwrap(), other.parse().unwrap());
            if one != other && pattern.matches(&one) && pattern.matches(&other) && template.tells_apart(&pattern) {
                let registry = "ghcr.io".parse().unwrap();
                let prefix = pattern.literal_prefix();
                let render = |repository| template.render(&SourceContext { registry: Some(&registry), repository, prefix });
                prop_assert_ne!(render(&one), render(&other));
            }
        }
    }
}
