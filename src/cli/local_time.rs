//! Times as this machine's clock shows them.

use std::time::{Duration, SystemTime};

/// The moment when the local clock shows that date (year, month, day) and time (hour, minute, second), or none if it never does.
pub fn moment(date: [i32; 3], time: [i32; 3]) -> Option<SystemTime> {
    let mut wanted = blank();
    set_date(&mut wanted, date)?;
    set_time(&mut wanted, time);
    let moment = to_moment(wanted)?;
    // 30 February would be 2 March.
    let shown = to_local(moment)?;
    ((shown.tm_mon, shown.tm_mday) == (date[1] - 1, date[2])).then_some(moment)
}

/// The first moment after `now` when the local clock shows that time (hour, minute, second).
pub fn next(now: SystemTime, time: [i32; 3]) -> Option<SystemTime> {
    let today = to_local(now)?;
    // Tomorrow is the day after today's date, not 24 hours on: the clocks may change in the night.
    (0..=1).find_map(|days| {
        let mut wanted = today;
        wanted.tm_mday += days;
        set_time(&mut wanted, time);
        to_moment(wanted).filter(|moment| *moment > now)
    })
}

fn set_date(to: &mut libc::tm, [year, month, day]: [i32; 3]) -> Option<()> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    (to.tm_year, to.tm_mon, to.tm_mday) = (year - 1900, month - 1, day);
    Some(())
}

/// Leaves it to the system to say whether it is summer time.
fn set_time(to: &mut libc::tm, [hour, minute, second]: [i32; 3]) {
    (to.tm_hour, to.tm_min, to.tm_sec, to.tm_isdst) = (hour, minute, second, -1);
}

fn blank() -> libc::tm {
    // SAFETY: a struct of integers and a pointer, for all of which zeros are values.
    unsafe { std::mem::zeroed() }
}

fn to_local(moment: SystemTime) -> Option<libc::tm> {
    let seconds = libc::time_t::try_from(moment.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let mut local = blank();
    // SAFETY: both pointers are to values of their types, which live through the call.
    let done = unsafe { libc::localtime_r(&seconds, &mut local) };
    (!done.is_null()).then_some(local)
}

fn to_moment(mut local: libc::tm) -> Option<SystemTime> {
    // SAFETY: as above; `tm_zone` is not read.
    let seconds = unsafe { libc::mktime(&mut local) };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}
