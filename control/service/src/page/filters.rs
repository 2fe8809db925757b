//! How pages write times and what is not there.

use askama::{Result, Values, filter_fn};
use jiff::Timestamp;

use crate::state::State;
use crate::store::now;

fn written(at: i64, form: &str) -> String {
    Timestamp::from_second(at).map_or_else(|_| at.to_string(), |t| t.strftime(form).to_string())
}

/// The day, in UTC.
#[filter_fn]
pub fn date(at: &i64, _: &dyn Values) -> Result<String> {
    Ok(written(*at, "%Y-%m-%d"))
}

/// Day and minute, in UTC.
#[filter_fn]
pub fn moment(at: &i64, _: &dyn Values) -> Result<String> {
    Ok(moment_words(*at))
}

/// Day and second, in UTC.
#[filter_fn]
pub fn second(at: &i64, _: &dyn Values) -> Result<String> {
    Ok(written(*at, "%Y-%m-%d %H:%M:%S"))
}

/// Day and minute, in UTC, for what is no template.
pub fn moment_words(at: i64) -> String {
    written(at, "%Y-%m-%d %H:%M UTC")
}

/// How long ago, or how long until then.
#[filter_fn]
pub fn relative(at: &i64, _: &dyn Values) -> Result<String> {
    Ok(relative_to(*at, now()))
}

pub fn relative_to(at: i64, now: i64) -> String {
    let away = (at - now).abs();
    let (count, unit) = match away {
        0..60 => return if at > now { "in a moment" } else { "just now" }.to_owned(),
        60..3600 => (away / 60, "minute"),
        3600..86_400 => (away / 3600, "hour"),
        _ => (away / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    if at > now {
        format!("in {count} {unit}{s}")
    } else {
        format!("{count} {unit}{s} ago")
    }
}

/// A text, or a dash.
#[filter_fn]
pub fn or_none(text: &Option<String>, _: &dyn Values) -> Result<String> {
    Ok(text
        .as_deref()
        .filter(|t| !t.is_empty())
        .unwrap_or("–")
        .to_owned())
}

/// A text, or nothing.
#[filter_fn]
pub fn or_empty(text: &Option<String>, _: &dyn Values) -> Result<String> {
    Ok(text.clone().unwrap_or_default())
}

/// The colour of a state.
#[filter_fn]
pub fn tone(state: &State, _: &dyn Values) -> Result<&'static str> {
    Ok(match state {
        State::Active => "good",
        State::NotYetValid | State::Rotated => "warn",
        State::Expired | State::Superseded => "none",
        State::Revoked => "bad",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long() {
        for (at, words) in [
            (1000, "just now"),
            (941, "just now"),
            (1030, "in a moment"),
            (940, "1 minute ago"),
            (1000 + 7200, "in 2 hours"),
            (1000 + 86_400, "in 1 day"),
            (1000 - 40 * 86_400, "40 days ago"),
        ] {
            assert_eq!(relative_to(at, 1000), words);
        }
    }
}
