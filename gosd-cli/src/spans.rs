//! Durations on the command line, such as `500ms`, `30s`, `5m`, `2h`, `1d`.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Parses a duration with its unit.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let expected = "a whole number and its unit, such as 500ms, 30s, 5m, 2h or 1d";
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - unit.len()].parse::<u64>().map_err(|_| expected)?;
    let span = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => return Err(expected.into()),
    };
    span.filter(|span| *span <= 366 * DAY).ok_or_else(|| "longer than a year".into())
}

/// A parser of durations that are at least the one and at most the other.
pub(crate) fn within(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let given = span(text)?;
        match (span(least)?..=span(most)?).contains(&given) {
            true => Ok(given),
            false => Err(format!("expected {least} to {most}")),
        }
    }
}

/// Parses a lease within the range that every driver and the registry server accept.
pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    within("2s", "1d")(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "+5s", "5 s", "1.5s", "5y", "367d", "99999999999999999h"]
        {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(lease("1s").is_err() && lease("25h").is_err() && lease("1d").is_ok());
    }

    #[test]
    fn a_range_includes_its_ends() {
        let parse = within("10ms", "1h");
        for (text, is_fine) in
            [("9ms", false), ("10ms", true), ("60m", true), ("3601s", false), ("x", false)]
        {
            assert_eq!(parse(text).is_ok(), is_fine, "{text}");
        }
        assert_eq!(parse("0s"), Err("expected 10ms to 1h".into()));
    }
}
