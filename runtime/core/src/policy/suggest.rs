//! The nearest known key, for whoever mistyped one.

/// `message`, which a reader of TOML or JSON gave, with the known key that is nearest to the unknown one, where one is near.
///
/// Both readers write "unknown field `X`, expected one of `A`, `B`".
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

/// The word of `known` that `unknown` was probably meant to be, where one is near.
pub fn suggest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.into_iter().map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min();
    nearest.filter(|(distance, _)| *distance <= 1 + unknown.len() / 3).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyRequest;

    #[test]
    fn the_nearest_key_is_named() {
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
                let told = with_suggestion(&error);
                assert!(told.ends_with(&format!("; did you mean `{nearest}`?")), "{told}");
            }
        }
    }

    #[test]
    fn as_many_letters_may_be_wrong_as_a_third_of_the_word_and_one() {
        for (unknown, known, is_near) in
            [("cxx", "cpu", true), ("xxx", "cpu", false), ("mexxxy", "memory", true), ("mxxxxy", "memory", false)]
        {
            assert_eq!(suggest(unknown, [known]).is_some(), is_near, "{unknown}");
        }
    }

    #[test]
    fn what_is_near_nothing_stays_as_it_is() {
        for message in ["unknown field `elephants`, expected one of `memory`, `cpu`", "invalid type", "unknown field `"]
        {
            assert_eq!(with_suggestion(message), message);
        }
    }
}
