//! What the terminal can show.

use std::{ffi::OsStr, io::IsTerminal};

use super::live_front::ROWS;

/// Columns of the terminal that standard output is; none where it is none.
pub fn terminal_columns() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether bars can be drawn on standard error. Where they cannot, what tells of progress are the lines that a pipe gets.
pub fn draws_bars() -> bool {
    can_draw(std::io::stderr().is_terminal(), std::env::var_os("TERM").as_deref())
}

/// Bars are lines that the cursor goes back to: a terminal that says it is dumb, or does not say what it is, cannot.
fn can_draw(is_terminal: bool, term: Option<&OsStr>) -> bool {
    is_terminal && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Columns of the front below the slots, with the words beside it.
const FRONT: u16 = 60;

/// Whether a terminal is large enough for the front below so many slots.
pub fn has_room(slots: usize) -> bool {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.is_ok_and(|size| usize::from(size.ws_row) > slots + ROWS + 6 && size.ws_col >= FRONT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_only_where_a_cursor_can_go_back() {
        let can = |is_terminal, term: Option<&str>| can_draw(is_terminal, term.map(OsStr::new));
        assert!(can(true, Some("xterm-256color")) && can(true, Some("vt100")));
        for (is_terminal, term) in [(true, Some("dumb")), (true, Some("")), (true, None), (false, Some("xterm"))] {
            assert!(!can(is_terminal, term), "{is_terminal} {term:?}");
        }
    }
}
