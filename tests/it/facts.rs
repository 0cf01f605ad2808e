//! What programs and errors say, held against the facts in it: which file, line, key, value, option or command it names. How it is
//! said is for `wording.rs` to hold, and for no other test.

/// A text that somebody reads.
pub trait Facts: AsRef<str> {
    /// Asserts that all of `facts` stand in the text as whole words, each at a place of its own.
    #[track_caller]
    fn names<S: AsRef<str>>(&self, facts: impl IntoIterator<Item = S>) -> &Self {
        let text = self.as_ref();
        let mut rest = text.to_string();
        for fact in facts {
            let fact = fact.as_ref();
            assert!(!is_prose(fact), "{fact:?} is wording, not a fact: wording.rs is the place for it");
            let Some(at) = find(&rest, fact) else { panic!("it does not name {fact:?}: {text}") };
            rest.replace_range(at..at + fact.len(), "\0");
        }
        self
    }

    /// Asserts that none of `facts` stands in the text.
    #[track_caller]
    fn is_silent_on<S: AsRef<str>>(&self, facts: impl IntoIterator<Item = S>) -> &Self {
        let text = self.as_ref();
        for fact in facts {
            assert!(find(text, fact.as_ref()).is_none(), "it names {:?}: {text}", fact.as_ref());
        }
        self
    }
}

impl<T: AsRef<str> + ?Sized> Facts for T {}

/// Where `fact` stands in `text`, not as a part of a longer word or number.
fn find(text: &str, fact: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let goes_on = |inner: Option<char>, outer: Option<char>| inner.is_some_and(is_word) && outer.is_some_and(is_word);
    text.match_indices(fact).map(|(at, _)| at).find(|at| {
        let (before, after) = (&text[..*at], &text[at + fact.len()..]);
        let mut further = after.chars();
        let (next, second) = (further.next(), further.next());
        // "1" is no fact of "1.5".
        let is_fraction =
            fact.ends_with(|c: char| c.is_ascii_digit()) && matches!((next, second), (Some('.'), Some('0'..='9')));
        !goes_on(fact.chars().next(), before.chars().next_back())
            && !goes_on(fact.chars().next_back(), next)
            && !is_fraction
    })
}

/// Whether a text has more than two plain words in a row, and is neither a list nor a command.
fn is_prose(fact: &str) -> bool {
    let is_plain = |word: &str| word.chars().all(|c| c.is_alphabetic() || ".;:'".contains(c));
    let words: Vec<&str> = fact.split_whitespace().collect();
    !fact.contains("fastrcaps ") && words.windows(3).any(|three| three.iter().all(|word| is_plain(word)))
}

#[test]
fn facts_are_whole_words_at_places_of_their_own() {
    let text = "train.epochs = 10 in my.toml:3, 10 of 12";
    text.names(["10", "train.epochs", "10", "my.toml:3"]).is_silent_on(["1", "train.epoch", "toml:33", "2"]);
    for facts in [&["10", "10", "10"][..], &["my.tom"], &["it is not allowed"]] {
        assert!(std::panic::catch_unwind(|| text.names(facts)).is_err(), "{facts:?}");
    }
    assert_eq!((find("1.5 s", "1"), find("ends in 1.", "1")), (None, Some(8)));
}
