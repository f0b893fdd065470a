//! [`PathPattern`]: the path of a route, with variables.

use std::fmt;

/// The path of a route, with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<Segment>);

/// A part of a path between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, after percent-decoding.
    Static(String),
    /// Any one segment that is not empty.
    Variable(String),
    /// The rest of the path, which may be empty.
    Rest(String),
}

impl PathPattern {
    /// Parses a path. Returns what is wrong with it.
    pub(super) fn new(path: &str) -> Result<Self, String> {
        let Some(rest) = path.strip_prefix('/') else { return Err("it starts with /".to_owned()) };
        let segments = rest.split('/').map(Segment::new).collect::<Result<Vec<_>, _>>()?;
        let is_rest = |segment: &Segment| matches!(segment, Segment::Rest(_));
        if segments.iter().rev().skip(1).any(is_rest) {
            return Err("{*NAME} is only possible at its end".to_owned());
        }
        let names: Vec<_> = segments.iter().filter_map(Segment::name).map(str::to_ascii_uppercase).collect();
        if let Some((_, name)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            return Err(format!("two variables are called {name}"));
        }
        Ok(Self(segments))
    }

    /// Returns the segments in their order.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Returns whether it matches the same paths as `other`: the names of variables do not count.
    pub(super) fn has_shape_of(&self, other: &Self) -> bool {
        let is_same = |(own, other): (&Segment, &Segment)| match (own, other) {
            (Segment::Static(own), Segment::Static(other)) => own == other,
            (own, other) => std::mem::discriminant(own) == std::mem::discriminant(other),
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(is_same)
    }

    /// Returns the names and values of the variables in `path`, the decoded segments of a path that matches.
    pub fn variables<'a>(&'a self, path: &[impl AsRef<str>]) -> Vec<(&'a str, String)> {
        let value = |(index, segment): (usize, &'a Segment)| match segment {
            Segment::Static(_) => None,
            Segment::Variable(name) => Some((name.as_str(), path.get(index)?.as_ref().to_owned())),
            Segment::Rest(name) => {
                let rest: Vec<_> = path.get(index..)?.iter().map(AsRef::as_ref).collect();
                Some((name.as_str(), rest.join("/")))
            }
        };
        self.0.iter().enumerate().filter_map(value).collect()
    }

    /// Returns the number of segments before `{*…}`, if it has one.
    pub fn rest_at(&self) -> Option<usize> {
        matches!(self.0.last(), Some(Segment::Rest(_))).then(|| self.0.len() - 1)
    }
}

impl Segment {
    fn new(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            let (name, segment): (_, fn(String) -> Self) = match name.strip_prefix('*') {
                Some(name) => (name, Self::Rest),
                None => (name, Self::Variable),
            };
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let is_name = name.chars().all(is_letter) && !name.starts_with(|first: char| first.is_ascii_digit());
            if name.is_empty() || !is_name {
                return Err(format!("{name:?} is not a name of letters, digits and _"));
            }
            return Ok(segment(name.to_owned()));
        }
        if matches!(text, "." | "..") {
            return Err(format!("no request has the segment {text:?}"));
        }
        let is_special = |letter: char| "{}?#%*\\".contains(letter) || letter.is_control() || letter.is_whitespace();
        match text.chars().find(|letter| is_special(*letter)) {
            Some(letter) => Err(format!("a segment is either {{NAME}}, {{*NAME}} or text without {letter:?}")),
            None => Ok(Self::Static(text.to_owned())),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Static(_) => None,
            Self::Variable(name) | Self::Rest(name) => Some(name),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Static(text) => write!(formatter, "/{text}"),
            Segment::Variable(name) => write!(formatter, "/{{{name}}}"),
            Segment::Rest(name) => write!(formatter, "/{{*{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rejects_invalid_paths() {
        for path in [
            "", "a", "/{}", "/{a", "/a}", "/x{a}", "/{*a}/b", "/{a}/{A}", "/{1a}", "/{a-b}", "/a b", "/a?b", "/%61",
            "/../a", "/a/.", "/*", "/{*}",
        ] {
            assert!(PathPattern::new(path).is_err(), "{path}");
        }
        for path in ["/", "/a", "/a/", "/a/{b}/c/{*d}", "/ü", "/{*all}", "/a//b", "/a.b~c"] {
            assert_eq!(PathPattern::new(path).unwrap().to_string(), path);
        }
    }

    #[test]
    fn variables_have_the_values_of_their_segments() {
        let pattern = PathPattern::new("/a/{b}/{*c}").unwrap();
        assert_eq!(pattern.variables(&["a", "x y", "d", "", "e"]), [("b", "x y".into()), ("c", "d//e".into())]);
        assert_eq!(pattern.variables(&["a", "x", ""]), [("b", "x".into()), ("c", String::new())]);
        assert_eq!(pattern.rest_at(), Some(2));
    }
}
