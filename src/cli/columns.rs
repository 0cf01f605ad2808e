//! Tables and texts in columns of a terminal.

use unicode_width::UnicodeWidthStr;

use super::terminal::terminal_columns;

/// Columns that the first column of a table keeps at least, before others go below.
const LEAST: usize = 24;

/// Rows as lines of columns: the first to the left, the others to the right. A wide letter (CJK, emoji) takes two columns. On a
/// terminal the lines fit into its width; elsewhere they are as long as they are.
pub fn aligned(rows: &[Vec<String>]) -> String {
    aligned_within(rows, terminal_columns())
}

/// [`aligned`], in so many columns where a number is given: the first column is broken into lines, and if that is not enough, the
/// last columns stand in a table of their own below.
fn aligned_within(rows: &[Vec<String>], room: Option<usize>) -> String {
    let widths = widths(rows);
    let (Some(room), Some((first, others))) = (room, widths.split_first()) else { return plain(rows) };
    let rest: usize = others.iter().map(|width| width + 2).sum();
    if first + rest <= room {
        return plain(rows);
    }
    let least = LEAST.min(*first);
    if least + rest <= room {
        return plain(&broken(rows, room - rest));
    }
    // As many columns as fit beside a first one of that width, then the others.
    let mut used = least;
    let fitting = others.iter().take_while(|width| {
        used += *width + 2;
        used <= room
    });
    let fitting = 1 + fitting.count().max(1);
    let part = |of: &dyn Fn(&[String]) -> Vec<String>| rows.iter().map(|row| of(row)).collect::<Vec<_>>();
    let upper = part(&|row| row[..fitting.min(row.len())].to_vec());
    let lower = part(&|row| row.first().into_iter().chain(row.iter().skip(fitting)).cloned().collect());
    if lower.iter().all(|row| row.len() < 2) {
        return plain(&broken(&upper, least));
    }
    format!("{}\n{}", aligned_within(&upper, Some(room)), aligned_within(&lower, Some(room)))
}

/// A text of sentences in lines that fit the terminal, broken at blanks; elsewhere as it is.
pub fn flowed(text: &str) -> String {
    flowed_within(text, terminal_columns())
}

fn flowed_within(text: &str, room: Option<usize>) -> String {
    let Some(room) = room else { return text.into() };
    let broken = |line: &str| wrapped(line, room).join("\n  ");
    text.split('\n').map(broken).collect::<Vec<_>>().join("\n")
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

fn plain(rows: &[Vec<String>]) -> String {
    let widths = widths(rows);
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.width());
            text += &if column == 0 { format!("{cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The rows with their first cells in lines of at most so many columns; what follows a row's first line stands alone.
fn broken(rows: &[Vec<String>], room: usize) -> Vec<Vec<String>> {
    let lines = |row: &Vec<String>| {
        let mut cells = row.clone();
        let mut lines = wrapped(row.first().map_or("", String::as_str), room).into_iter();
        if let (Some(first), Some(cell)) = (lines.next(), cells.first_mut()) {
            *cell = first;
        }
        std::iter::once(cells).chain(lines.map(|line| vec![format!("  {line}")])).collect::<Vec<_>>()
    };
    rows.iter().flat_map(lines).collect()
}

/// A text in lines of at most so many columns, broken at blanks; a word that is longer is broken anywhere. Lines after the first
/// have two columns less, so that they can be set in.
pub fn wrapped(text: &str, room: usize) -> Vec<String> {
    let room = room.max(4);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word.to_string();
        loop {
            let width = room - if lines.len() > 1 { 2 } else { 0 };
            let line = lines.last_mut().expect("there is always a line");
            let needed = line.width() + usize::from(!line.is_empty()) + word.width();
            if needed <= width {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            let mut used = 0;
            let cut = word.char_indices().find(|(_, letter)| {
                used += letter.to_string().width();
                used > width
            });
            let rest = word.split_off(cut.map_or(word.len(), |(at, _)| at.max(1)));
            line.push_str(&word);
            if rest.is_empty() {
                break;
            }
            word = rest;
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Vec<String>> {
        let rows = [
            ["CONFIGURATION", "TIME", "VALIDATION", "PARAMETERS"],
            ["warm-restarts, adabatch, class sharing by-type", "12.3 s", "99.01 ± 0.12 %", "319408"],
            ["fixed", "2 s", "98.00 %", "401328"],
        ];
        rows.map(|row| row.map(String::from).to_vec()).to_vec()
    }

    #[test]
    fn columns_stand_below_each_other_also_after_wide_letters() {
        let rows = [["CONFIGURATION", "TIME"], ["学習率 0.01", "2 s"], ["baseline é", "12 s"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        assert_eq!(aligned_within(&rows, None), "CONFIGURATION  TIME\n学習率 0.01     2 s\nbaseline é     12 s\n");
    }

    #[test]
    fn a_table_fits_any_width_that_its_widest_column_does_and_loses_no_word() {
        for room in 42..100 {
            let text = aligned_within(&table(), Some(room));
            assert!(text.lines().all(|line| line.width() <= room), "{room}:\n{text}");
            let words =
                |text: &str| text.split_whitespace().map(String::from).collect::<std::collections::BTreeSet<_>>();
            assert!(table().iter().flatten().all(|cell| words(cell).is_subset(&words(&text))), "{room}:\n{text}");
        }
        assert_eq!(aligned_within(&table(), Some(200)), aligned_within(&table(), None));
    }

    #[test]
    fn a_long_name_goes_on_below_and_columns_without_room_stand_in_a_table_of_their_own() {
        let narrow = aligned_within(&table(), Some(64));
        assert!(narrow.contains("\n  class sharing by-type\n") || narrow.contains("\n  sharing by-type\n"), "{narrow}");
        let narrower = aligned_within(&table(), Some(44));
        assert_eq!(narrower.matches("CONFIGURATION").count(), 3, "{narrower}");
    }

    #[test]
    fn sentences_fit_the_terminal_and_lose_no_word() {
        let text = "Points of one GROUP cannot be told apart by accuracy.\nTimes: screened on 1 thread.\n";
        assert_eq!(flowed_within(text, None), text);
        for room in 20..80 {
            let flowed = flowed_within(text, Some(room));
            assert!(flowed.lines().all(|line| line.width() <= room), "{room}:\n{flowed}");
            assert!(flowed.split_whitespace().eq(text.split_whitespace()), "{flowed}");
            assert!(flowed.ends_with('\n'), "{flowed:?}");
        }
    }

    #[test]
    fn words_longer_than_a_line_are_broken() {
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "ef", "gh", "ij"]);
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(wrapped("学習率学習率", 5).concat(), "学習率学習率");
    }
}
