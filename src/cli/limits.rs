//! What a sweep must not exceed, as its user gives it: a time, a number of failures, memory.

use std::time::{Duration, SystemTime};

use fastrcaps::{
    base::{
        device::Place,
        words::{by_count, gigabytes, megabytes, plural},
    },
    learn::config::TrialConfig,
    search::{
        dispatch::{Limits, MaxFailures},
        space::Space,
        worker::{Fit, Memory, Slots},
    },
};
use jiff::{
    ZonedDateTime,
    civil::{Date, Time},
    fmt::temporal::DateTimeParser,
    tz::TimeZone,
};

const TIMES: &str = "give a time as 08:00 (the next one), 2026-11-23T08:00 (both as this machine's clock shows it), \
                     2026-11-23T07:00Z or 2026-11-23T08:00+01:00";
const DURATIONS: &str = "give a duration above 0, as in 6h, 90m or 1h 30m";
const FAILURES: &str = "give a number of trials from 1, as in 20, or a share of those that ended, as in 25%";
const SIZES: &str =
    "give a size above 0, as in 16GiB, 16G or 16000M (G and GB are a thousand million bytes, GiB are 1024³)";

/// What a sweep must not exceed.
#[derive(clap::Args)]
pub struct LimitsArg {
    /// Stop at this time, as in 08:00, 2026-11-23T08:00 or 2026-11-23T07:00Z: nothing is started that could not end before, and what runs then
    /// writes a checkpoint and ends, within a minute. The baseline, then what is cheap and different, comes first
    #[arg(long, help_heading = "Limits", value_name = "TIME", value_parser = parse_until)]
    until: Option<SystemTime>,
    /// The same, after a duration from now, as in 6h
    #[arg(long, help_heading = "Limits", value_name = "DURATION", value_parser = parse_budget)]
    budget: Option<Duration>,
    /// Wall time that an attempt of a trial may take; goes over the space's timeout_minutes
    #[arg(long, help_heading = "Limits", value_name = "MINUTES", value_parser = parse_minutes)]
    timeout_minutes: Option<f64>,
    #[command(flatten)]
    pub memory: MemoryArg,
    /// Further attempts of a trial that failed by no fault of its own: killed, or the disk full
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = 2)]
    retries: usize,
    /// Time before the first of them, twice as long before each that follows
    #[arg(long, help_heading = "Limits", value_name = "DURATION", default_value = "5s", value_parser = super::input::parse_duration)]
    backoff: Duration,
    /// Stop when as many trials failed, as in 20 or 25% (of those that ended, from ten on)
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = parse_failures)]
    max_failures: Option<MaxFailures>,
}

impl LimitsArg {
    /// When nothing may run any more.
    fn deadline(&self) -> Option<SystemTime> {
        // A budget too long for the clock was refused when it was parsed.
        let after = self.budget.and_then(|budget| SystemTime::now().checked_add(budget));
        [self.until, after].into_iter().flatten().min()
    }

    /// The limits of a sweep over `trials` of `space`.
    pub fn limits(&self, space: &Space) -> Limits {
        let minutes = self.timeout_minutes.or(space.timeout_minutes);
        Limits {
            retries: self.retries,
            backoff: self.backoff,
            failures: self.max_failures,
            timeout: minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
            deadline: self.deadline(),
            ..Limits::default()
        }
    }
}

/// Memory that trials may take.
#[derive(clap::Args)]
pub struct MemoryArg {
    /// Memory that all trials together may take, as in 16GiB [default: 90 % of what is available]
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
}

impl MemoryArg {
    /// Bytes, where they are given.
    pub fn bytes(&self) -> Option<u64> {
        self.memory
    }

    /// What is to be known of a sweep of `trials` that the memory bounds: that slots stay idle, or that it cannot be kept.
    pub fn notes(&self, memory: &Memory, trials: &[&TrialConfig], slots: &Slots) -> Vec<String> {
        let places: Vec<Place> = slots.places().collect();
        let Fit { at_once, too_large, largest } = memory.fit(trials.iter().copied(), &places);
        let size = |bytes: u64| if bytes >= 1_000_000_000 { gigabytes(bytes) } else { megabytes(bytes) };
        let limit = match self.memory {
            Some(bytes) => format!("--memory of {}", size(bytes)),
            None => format!("90 % of the memory that is available, {},", size(memory.bytes)),
        };
        let mut notes = Vec::new();
        let wanted = slots.count().min(trials.len());
        if at_once < wanted {
            notes.push(format!(
                "note: {limit} has room for at most {} at a time, of {wanted} that the slots would run: the rest waits",
                plural(at_once, "trial")
            ));
        }
        if too_large > 0 {
            let (are, is_each) = (by_count(too_large, "is", "are"), by_count(too_large, "it runs", "each runs"));
            notes.push(format!(
                "warning: {limit} cannot be kept: {} {are} expected to take more, up to {}; {is_each} with nothing beside it",
                plural(too_large, "trial"),
                size(largest)
            ));
        }
        notes
    }
}

/// `--until`: when nothing may run any more.
fn parse_until(text: &str) -> Result<SystemTime, String> {
    until(text, &ZonedDateTime::now())
}

/// The moment that `text` means for somebody whose clock shows `now`.
fn until(text: &str, now: &ZonedDateTime) -> Result<SystemTime, String> {
    let given = text.trim();
    let time = match given.split_once(['T', 't', ' ']) {
        Some((date, time)) => {
            let (time, zone) = zoned(time, now.time_zone()).ok_or_else(|| TIMES.to_string())?;
            // Parts of a second, which others write, do not matter here.
            let time = time.split_once('.').map_or(time, |(whole, _)| whole);
            let (Some([year, month, day]), Some(time)) = (numbers(date, '-'), clock(time)) else {
                return Err(TIMES.to_string());
            };
            let date = Date::new(year, month as i8, day as i8);
            date.ok().and_then(|date| date.to_datetime(time).to_zoned_datetime(zone).ok())
        }
        None => next(now, clock(given).ok_or_else(|| TIMES.to_string())?),
    };
    match time {
        None => Err(format!("there is no such time; {TIMES}")),
        Some(time) if time <= *now => Err(format!("that is over already; {TIMES}")),
        Some(time) => time.timestamp().try_into().map_err(|_| TIMES.to_string()),
    }
}

/// The first moment after `now` when the clock there shows that time.
fn next(now: &ZonedDateTime, time: Time) -> Option<ZonedDateTime> {
    // Tomorrow is the day after today's date, not 24 hours on: the clocks may change in the night.
    [Some(now.date()), now.date().tomorrow().ok()]
        .into_iter()
        .flatten()
        .filter_map(|date| date.to_datetime(time).to_zoned_datetime(now.time_zone().clone()).ok())
        .find(|moment| moment > now)
}

/// Takes a time apart that may end with its zone, `Z`, `+01:00`, `+0100` or `+01`: the rest, and the zone, which is `local`
/// where none is given.
fn zoned<'a>(text: &'a str, local: &TimeZone) -> Option<(&'a str, TimeZone)> {
    let (time, zone) = text.split_at(text.find(['Z', 'z', '+', '-']).unwrap_or(text.len()));
    let zone = match zone {
        "" => local.clone(),
        "Z" | "z" => TimeZone::UTC,
        // No clock is a day apart from UTC's. What begins with a letter may be the name of a zone, which is not asked for.
        offset if offset.starts_with(['+', '-']) => {
            let zone = DateTimeParser::new().parse_time_zone(offset).ok()?;
            (zone.to_fixed_offset().ok()?.seconds().abs() < 24 * 3600).then_some(zone)?
        }
        _ => return None,
    };
    Some((time, zone))
}

/// `08:00`, `8:00` or `08:00:30`.
fn clock(text: &str) -> Option<Time> {
    let with_seconds = if text.matches(':').count() == 1 { format!("{text}:00") } else { text.to_string() };
    let [hour, minute, second] = numbers(&with_seconds, ':').filter(|_| with_seconds.len() <= 8)?;
    Time::new(i8::try_from(hour).ok()?, minute as i8, second as i8, 0).ok()
}

/// Three whole numbers: the first of at most four digits, the others of at most two, which fit into an `i8`.
fn numbers(text: &str, separator: char) -> Option<[i16; 3]> {
    let mut parts = text.split(separator);
    let mut number = |most: usize| {
        let part = parts.next()?;
        let is_number = (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| is_number)
    };
    let numbers = [number(4)?, number(2)?, number(2)?];
    parts.next().is_none().then_some(numbers)
}

/// `--budget`: for how long anything may run.
fn parse_budget(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration.is_zero() => Err(format!("no time at all; {DURATIONS}")),
        // What no clock can show is no limit.
        Ok(duration) if SystemTime::now().checked_add(duration).is_none() => Err(format!("too long; {DURATIONS}")),
        Ok(duration) => Ok(duration),
        Err(_) => Err(DURATIONS.to_string()),
    }
}

/// `--max-failures`: failed trials that are too many.
fn parse_failures(text: &str) -> Result<MaxFailures, String> {
    let share = |percent: &str| {
        let percent: f64 = percent.trim().parse().ok()?;
        (percent > 0.0 && percent <= 100.0).then_some(MaxFailures::Share(percent / 100.0))
    };
    let limit = match text.trim().strip_suffix('%') {
        Some(percent) => share(percent),
        None => text.trim().parse().ok().filter(|count| *count > 0).map(MaxFailures::Count),
    };
    limit.ok_or_else(|| FAILURES.to_string())
}

/// `--timeout-minutes`: wall time of an attempt.
fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes = text.trim().parse::<f64>().ok().filter(|minutes| *minutes > 0.0 && *minutes <= 1e6);
    minutes.ok_or_else(|| "give a number of minutes above 0, as in 90 or 0.5".to_string())
}

/// `--memory`: bytes that all trials together may take.
fn parse_memory(text: &str) -> Result<u64, String> {
    let given = text.trim();
    let end = given.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(given.len());
    let (number, unit) = given.split_at(end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1u64 << 40,
        _ => return Err(SIZES.to_string()),
    };
    let bytes = number.parse::<f64>().map_err(|_| SIZES.to_string())? * factor as f64;
    // Also refuses what is more than any machine has.
    if bytes >= 1.0 && bytes < (1u64 << 60) as f64 { Ok(bytes as u64) } else { Err(SIZES.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    /// A moment on a clock of central Europe, whatever zone the machine is in.
    fn local(date_and_time: &str) -> ZonedDateTime {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        date_and_time.parse::<jiff::civil::DateTime>().unwrap().to_zoned_datetime(zone).unwrap()
    }

    fn seconds_until(text: &str, now: &ZonedDateTime) -> u64 {
        let moment = until(text, now).unwrap();
        moment.duration_since(SystemTime::try_from(now.timestamp()).unwrap()).unwrap().as_secs()
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let now = local("2026-11-22T23:30");
        let at = |text: &str| seconds_until(text, &now);
        assert_eq!(at("23:45"), 15 * 60);
        assert_eq!(at("23:30:10"), 10);
        assert_eq!(at("08:00"), 8 * 3600 + 30 * 60);
        assert_eq!(at("8:00"), 8 * 3600 + 30 * 60);
        assert_eq!(at("23:30"), 24 * 3600);
        assert_eq!(at("2026-11-23T00:00"), 30 * 60);
        assert_eq!(at("2026-11-23 00:00:05"), 30 * 60 + 5);
    }

    #[test]
    fn tomorrow_is_another_date_also_when_the_clocks_change_in_the_night() {
        // From 2:00 to 3:00 on 29 March 2026, and from 3:00 back to 2:00 on 25 October.
        assert_eq!(seconds_until("08:00", &local("2026-03-28T23:00")), 8 * 3600);
        assert_eq!(seconds_until("08:00", &local("2026-10-24T23:00")), 10 * 3600);
        assert_eq!(seconds_until("23:00", &local("2026-03-28T23:00")), 23 * 3600);
        // A time that the clock leaves out comes an hour later, one that it shows twice is the first.
        assert_eq!(seconds_until("2026-03-29T02:30", &local("2026-03-29T01:30")), 3600);
        assert_eq!(seconds_until("2026-10-25T02:30", &local("2026-10-25T01:30")), 3600);
    }

    #[test]
    fn a_time_in_utc_needs_no_zone() {
        let seconds = |text: &str| seconds_until(text, &EPOCH.to_zoned_datetime(TimeZone::UTC));
        assert_eq!(seconds("1970-01-02T00:00:01Z"), 86401);
        assert_eq!(seconds("2026-11-23T07:00:00Z"), 1_795_417_200);
    }

    #[test]
    fn seconds_may_be_left_out_and_a_zone_may_be_given_by_its_hours() {
        let now = EPOCH.to_zoned_datetime(TimeZone::UTC);
        let seven = until("2026-11-23T07:00:00Z", &now).unwrap();
        for same in [
            "2026-11-23T07:00Z",
            "2026-11-23t7:00z",
            "2026-11-23 07:00:00.25Z",
            "2026-11-23T08:00+01:00",
            "2026-11-23T08:00:00+0100",
            "2026-11-23T08:00:00.5+01",
            "2026-11-23T02:30-04:30",
            "2026-11-24T06:30+23:30",
        ] {
            assert_eq!(until(same, &now), Ok(seven), "{same}");
        }
    }

    #[test]
    fn what_is_no_time_or_over_is_refused_with_an_example() {
        let now = local("2026-11-22T12:00");
        let refused = [
            "",
            ":",
            "25:00",
            "08:60",
            "8",
            "08:00:00:00",
            "morning",
            "-1:00",
            "2026-02-30T08:00",
            "2026-13-01T08:00",
            "2026-11-23T",
            "2026-11-23",
            "T08:00",
            "99999-01-01T00:00",
            "2026-11-23T08:00+1:00",
            "2026-11-23T08:00+01:60",
            "2026-11-23T08:00+24",
            "2026-11-23T08:00+010",
            "2026-11-23T08:00+é",
            "2026-11-23T+01:00",
            "2026-11-23T08:00+",
            "2026-02-30T08:00Z",
            "2026-11-22T10:00+02:00",
            "１２:００",
            "00008:00",
            "2026-11-21T08:00",
            "2020-01-01T00:00:00Z",
            "1e300:00",
            "2026-11-23T08:00:00z0",
            "2026-11-23T08:00:00Europe/Berlin",
            "260:00",
        ];
        for text in refused {
            let message = until(text, &now).expect_err(text);
            assert!(message.contains("as 08:00"), "{text}: {message}");
        }
    }

    #[test]
    fn budgets_are_durations_above_0() {
        assert_eq!(parse_budget("6h"), Ok(Duration::from_secs(6 * 3600)));
        assert_eq!(parse_budget("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["0s", "", "6", "-6h", "forever", "99999999999999999999y", "584554049253y"] {
            assert!(parse_budget(text).expect_err(text).contains("as in 6h"), "{text}");
        }
    }

    #[test]
    fn failures_are_a_number_or_a_share() {
        assert_eq!(parse_failures("20"), Ok(MaxFailures::Count(20)));
        assert_eq!(parse_failures("25%"), Ok(MaxFailures::Share(0.25)));
        for text in ["0", "", "-1", "0%", "101%", "%", "NaN%", "inf%", "1.5", "a few"] {
            assert!(parse_failures(text).expect_err(text).contains("25%"), "{text}");
        }
    }

    #[test]
    fn memory_is_a_number_with_a_unit() {
        assert_eq!(parse_memory("16GiB"), Ok(16 << 30));
        assert_eq!(parse_memory("16G"), Ok(16_000_000_000));
        assert_eq!(parse_memory("16000M"), Ok(16_000_000_000));
        assert_eq!(parse_memory("1.5 gib"), Ok(3 << 29));
        assert_eq!(parse_memory("4096"), Ok(4096));
        for text in ["", "0", "0G", "-1G", "G", "1.2.3G", "16 gigs", "NaN", "1e9", "99999999T", "inf"] {
            assert!(parse_memory(text).expect_err(text).contains("as in 16GiB"), "{text}");
        }
    }
}
