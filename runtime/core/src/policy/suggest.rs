//! Suggestions for mistyped keys.

/// Adds "did you mean …?" to an error message of the TOML or JSON parser, if a known key is similar to the unknown one.
///
/// Both parsers write "unknown field `X`, expected one of `A`, `B`".
pub fn with_suggestion(message: &str) -> String {
    let message = message.trim_end();
    let Some((_, rest)) = message.split_once("unknown field `") else { return message.to_owned() };
    let mut quoted = rest.split('`').step_by(2);
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    let known = quoted.filter(|known| known.chars().all(|letter| letter.is_alphanumeric() || letter == '_'));
    match suggest(unknown, known) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

/// Returns the word of `known` that is most similar to `unknown`, if it differs in at most a third of the letters plus one.
pub fn suggest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.into_iter().map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min();
    nearest.filter(|(distance, _)| *distance <= 1 + unknown.len() / 3).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyRequest;

    #[test]
    fn with_suggestion_names_the_most_similar_key() {
        for (unknown, nearest) in [
            ("memroy", "memory"),
            ("timout", "timeout"),
            ("handle", "handles"),
            ("stdotu", "stdout"),
            ("pasenv", "pass_env"),
        ] {
            let toml = toml::from_str::<PolicyRequest>(&format!("{unknown} = 1")).unwrap_err().to_string();
            let json = serde_json::from_str::<PolicyRequest>(&format!("{{\"{unknown}\": 1}}")).unwrap_err().to_string();
            for error in [toml, json] {
                let message = with_suggestion(&error);
                assert!(message.ends_with(&format!("; did you mean `{nearest}`?")), "{message}");
            }
        }
    }

    #[test]
    fn suggest_accepts_a_third_of_the_letters_plus_one() {
        for (unknown, known, is_near) in
            [("cxx", "cpu", true), ("xxx", "cpu", false), ("mexxxy", "memory", true), ("mxxxxy", "memory", false)]
        {
            assert_eq!(suggest(unknown, [known]).is_some(), is_near, "{unknown}");
        }
    }

    #[test]
    fn with_suggestion_without_similar_key_returns_message() {
        for message in ["unknown field `elephants`, expected one of `memory`, `cpu`", "invalid type", "unknown field `"]
        {
            assert_eq!(with_suggestion(message), message);
        }
    }
}
